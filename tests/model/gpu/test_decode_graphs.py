"""Steps replayed from recordings answer as forward passes of their own; the fixed inputs are filled right."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model
from server.model.flat_batch import Chunk
from server.model.gpu.decode_graphs import DecodeGraphs, DecodeInputs, usual_sizes
from server.model.gpu.recorder import record_decodes
from server.model.kv_cache import KVCache
from server.model.paged_attention import PagedAttention
from server.model.runner import ModelRunner
from tests.devices import DEVICE, IS_CPU, NAME
from tests.parity.architectures import build

BLOCK_SIZE = 4
PADDING_BLOCK = 19


class FakeGraph:
    """A recording that computes anew, from what its inputs hold at the replay; like a graph, into the same memory."""

    def __init__(self, forward) -> None:
        self._forward = forward
        self._output = forward()

    def replay(self) -> torch.Tensor:
        self._output.copy_(self._forward())
        return self._output


@dataclass
class Recorded:
    """A recording that keeps what its inputs were."""

    inputs: DecodeInputs
    seen: list = field(default_factory=list)

    def replay(self) -> torch.Tensor:
        inputs = self.inputs
        rows = zip(inputs.input_ids.tolist(), inputs.positions.tolist(), inputs.slots.tolist(), strict=True)
        self.seen.append([(*row, table) for row, table in zip(rows, inputs.tables.tolist(), strict=True)])
        return torch.arange(inputs.size)[:, None].float()


def make_graphs(sizes: tuple[int, ...]) -> tuple[DecodeGraphs, list[Recorded]]:
    recordings = []

    def record(inputs: DecodeInputs) -> Recorded:
        recordings.append(Recorded(inputs))
        return recordings[-1]

    graphs = DecodeGraphs(sizes, lambda size: DecodeInputs(size, 5, BLOCK_SIZE, PADDING_BLOCK, DEVICE), record)
    return graphs, recordings


def decode(token: int, start: int, table: list[int]) -> Chunk:
    return Chunk([token], start, table, 0)


def test_the_largest_size_is_recorded_first():
    graphs, recordings = make_graphs((4, 1, 2, 4))
    assert graphs.sizes == (1, 2, 4)
    assert [recording.inputs.size for recording in recordings] == [4, 2, 1]


@pytest.mark.parametrize(("num_sequences", "size"), [(1, 1), (2, 4), (3, 4), (4, 4)])
def test_a_step_takes_the_smallest_size_that_holds_it(num_sequences, size):
    graphs, recordings = make_graphs((1, 4))
    logits = graphs.run([decode(5, 0, [1 + index]) for index in range(num_sequences)])
    assert logits.shape == (num_sequences, 1)
    assert [recording.inputs.size for recording in recordings if recording.seen] == [size]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [decode(1, 0, [1])] * 5,
        [decode(1, 0, [1]), Chunk([1, 2], 0, [2], 1)],
        [Chunk([1], 0, [1], None)],
        [Chunk(torch.zeros(1, 8), 0, [1], 0)],
    ],
    ids=["nothing", "more than any size", "a prefill", "no logits", "a row of a soft prompt"],
)
def test_other_steps_are_not_replayed(chunks):
    graphs, recordings = make_graphs((1, 4))
    assert graphs.run(chunks) is None
    assert not any(recording.seen for recording in recordings)


def test_inputs_are_ids_positions_slots_and_tables_and_padding_keeps_to_its_block():
    graphs, [recording] = make_graphs((3,))
    graphs.run([decode(7, 9, [5, 6, 8]), decode(3, 3, [2])])
    padding = (0, 0, PADDING_BLOCK * BLOCK_SIZE, [PADDING_BLOCK])
    seen = [(*row[:3], row[3][: row[1] // BLOCK_SIZE + 1]) for row in recording.seen[-1]]
    assert seen == [(7, 9, 8 * BLOCK_SIZE + 1, [5, 6, 8]), (3, 3, 2 * BLOCK_SIZE + 3, [2]), padding]


def test_rows_change_hands_between_steps():
    """Random steps over one recording: each row holds this step's numbers, whatever it held before."""
    graphs, [recording] = make_graphs((4,))
    choice = random.Random(0)
    for _ in range(200):
        chunks = []
        for _ in range(choice.randint(1, 4)):
            start = choice.randrange(5 * BLOCK_SIZE)
            table = [choice.randrange(1, 4) for _ in range(5)]  # few blocks, so that equal tables do occur
            chunks.append(decode(choice.randrange(50), start, table[: start // BLOCK_SIZE + choice.randint(1, 2)]))
        graphs.run(chunks)
        rows = [*chunks, *[decode(0, 0, [PADDING_BLOCK])] * (4 - len(chunks))]
        for seen, chunk in zip(recording.seen[-1], rows, strict=True):
            block = chunk.start // BLOCK_SIZE
            slot = chunk.block_table[block] * BLOCK_SIZE + chunk.start % BLOCK_SIZE
            assert seen[:3] == (chunk.tokens[0], chunk.start, slot)
            assert seen[3][: block + 1] == list(chunk.block_table[: block + 1])


@pytest.mark.parametrize("most", [1, 2, 3, 8, 64, 100, 256, 300])
def test_usual_sizes_end_at_the_most_there_can_be(most):
    sizes = usual_sizes(most)
    assert list(sizes) == sorted(set(sizes))
    assert sizes[0] == 1 and sizes[-1] == most
    # at most half of a small step is padding, and a quarter of a larger one
    assert all(after <= 2 * before for before, after in pairwise(sizes))


# --- over a real model ------------------------------------------------------------------------------------------------


def load(name: str, folder) -> LoadedModel:
    build(name).save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype="float32"))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_replayed_steps_answer_as_forward_passes_do(architecture, tmp_path):
    """Three sequences decode in one recorded size of four: the same logits and the same cache, padding apart."""
    loaded = load(architecture, tmp_path)
    caches = [KVCache(loaded.architecture.layers, 20, BLOCK_SIZE, torch.float32, DEVICE) for _ in range(2)]
    runners = [ModelRunner(loaded, cache, choose_backend(DEVICE)) for cache in caches]
    graphs = record_decodes(loaded, caches[1], PagedAttention, (1, 4), record=FakeGraph if IS_CPU else None)
    assert graphs is not None
    tables = [[1, 4, 9], [2, 7], [3, 8]]
    prompts = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11]]
    for runner in runners:
        runner.forward([Chunk(prompt, 0, table, 0) for prompt, table in zip(prompts, tables, strict=True)])
    for step in range(4):
        chunks = [decode(20 + step, len(p) + step, t) for p, t in zip(prompts, tables, strict=True)]
        expected = runners[0].forward(chunks)
        with torch.inference_mode():
            actual = graphs.run(chunks)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(caches[1].keys + caches[1].values, caches[0].keys + caches[0].values, strict=True):
        torch.testing.assert_close(ours[1:-1], theirs[1:-1], atol=1e-5, rtol=1e-5)
        assert bool((ours[0] == 0).all()), "the padding of tables must stay zero"


@pytest.mark.parametrize("message", ["operation not permitted when stream is capturing\nmore of it", ""])
def test_a_forward_pass_that_cannot_be_recorded_is_reported_and_done_without(message, tmp_path, caplog):
    loaded = load("llama", tmp_path)
    cache = KVCache(loaded.architecture.layers, 20, BLOCK_SIZE, torch.float32, DEVICE)

    def refuse(forward):
        raise RuntimeError(message)

    assert record_decodes(loaded, cache, PagedAttention, (1, 2), record=refuse) is None
    assert "not recorded" in caplog.text and "more of it" not in caplog.text


class StaleGraph(FakeGraph):
    """A recording that answers what it was recorded with: a forward pass that copies its inputs makes such ones."""

    def replay(self) -> torch.Tensor:
        return self._output


def test_a_recording_that_does_not_follow_its_inputs_is_done_without(tmp_path, caplog):
    """It would answer every later step with the first one's tokens."""
    loaded = load("llama", tmp_path)
    cache = KVCache(loaded.architecture.layers, 20, BLOCK_SIZE, torch.float32, DEVICE)
    assert record_decodes(loaded, cache, PagedAttention, (1, 4), record=StaleGraph) is None
    assert "standard deviations" in caplog.text
