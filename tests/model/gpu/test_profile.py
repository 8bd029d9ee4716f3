"""The largest step: every token and every row of logits that a step may have, and the costliest way to sample them."""

import pytest
import torch

from server.model.gpu.profile import costliest_wanted, largest_step
from server.model.sampling.readout import read


@pytest.mark.parametrize(("max_context", "max_batch_tokens"), [(64, 40), (64, 64), (16, 40), (16, 34), (4, 40)])
def test_the_largest_step_is_as_large_as_a_step_can_be(max_context, max_batch_tokens):
    """A context shorter than a step's tokens takes several chunks."""
    chunks = largest_step(max_context, max_batch_tokens, 8, 4)
    assert sum(chunk.num_tokens for chunk in chunks) == max_batch_tokens
    assert sum(chunk.num_logits for chunk in chunks) == 8
    assert all(chunk.num_tokens <= max_context <= len(chunk.block_table) * 4 for chunk in chunks)


def test_every_row_of_logits_is_sampled():
    answers = read(torch.zeros(3, 10), costliest_wanted(3))
    assert [len(answer.sampled) for answer in answers] == [1, 1, 1]
