"""Hidden states of a step are those that transformers' backbone returns."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from server.model.flat_batch import Chunk
from server.model.hidden_rows import HiddenRows, all_finite, captured
from server.model.memory_guard import MemoryGuard
from tests.parity.architectures import CONFIGS, build, build_from
from tests.parity.tiny_configs import tiny_config


@pytest.mark.parametrize("architecture", CONFIGS)
def test_what_is_captured_is_the_last_hidden_state(architecture: str):
    """Of every family, the final norm included: it is what the classes with heads are built on."""
    check_captured(build(architecture))


def test_a_vocabulary_head_named_decoder_is_not_taken_for_the_backbone():
    """ModernBERT's decoder calls its head so, and transformers' `get_decoder` returns it."""
    check_captured(build_from(tiny_config("modernbert-decoder")))


def check_captured(model: PreTrainedModel):
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad(), captured(model) as hidden:
        model(input_ids=ids)
    with torch.no_grad():
        assert torch.equal(hidden(), model.base_model(input_ids=ids).last_hidden_state[0])
        model(input_ids=ids)
    assert len(hidden()) == 3, "the hook has gone with the step"


def test_the_rows_of_a_chunk_may_come_in_parts():
    """As they do where memory is short; rows before the first wanted one are dropped."""
    rows = torch.arange(10.0)[:, None]
    for cuts in ([10], [2, 8], [1, 1, 3, 5]):
        chunk = HiddenRows(3)
        first = 0
        for size in cuts:
            chunk.add(rows[first : first + size])
            first += size
        assert torch.equal(chunk.joined(), rows[3:])


def test_each_chunk_is_checked_for_nan_on_its_own():
    """Chunks without hidden states have nothing to check."""
    good, bad = HiddenRows(0), HiddenRows(0)
    good.add(torch.ones(2, 3))
    bad.add(torch.tensor([[1.0, float("nan")]]))
    assert all_finite([None, good, bad]) == [True, True, False]


class ShortOfMemory:
    """A runner that computes at most three tokens at once; the hidden state of a token is the token itself."""

    def forward(self, chunks):
        if sum(chunk.num_tokens for chunk in chunks) > 3:
            raise torch.OutOfMemoryError
        for chunk in chunks:
            if chunk.hidden is not None:
                chunk.hidden.add(torch.tensor(chunk.tokens)[:, None])
        return torch.zeros(sum(chunk.num_logits for chunk in chunks), 5)


def test_a_batch_that_is_computed_in_parts_gives_the_same_rows():
    """A device that is out of memory computes a chunk in pieces; rows of a failed try are not there twice."""
    hidden = HiddenRows(2)
    chunks = [Chunk([1, 2], 0, (1, 2), 1), Chunk([3, 4, 5, 6, 7], 0, (3, 4), None, hidden=hidden)]
    logits = MemoryGuard(ShortOfMemory(), release=lambda: None).forward(chunks)
    assert hidden.joined()[:, 0].tolist() == [5, 6, 7]
    assert len(logits) == 1
