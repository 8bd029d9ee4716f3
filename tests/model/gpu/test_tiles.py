"""Tiles cover every row once, and no tile is larger than a program takes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from server.model.flat_batch import Chunk, FlatBatch, build_flat_batch
from server.model.gpu.tiles import Tiles, decode_tiles, prefill_tiles
from tests.devices import DEVICE

BLOCK_SIZE = 4


def batch_of(spans: list[tuple[int, int]]) -> FlatBatch:
    """Chunks of (positions before, tokens); sequence i's blocks are all 7 + i."""
    chunks = [Chunk([0] * length, start, [7 + index] * 30, None) for index, (start, length) in enumerate(spans)]
    return build_flat_batch(chunks, BLOCK_SIZE, DEVICE)


def all_tiles(batch: FlatBatch, max_tokens: int) -> list[Tiles]:
    groups = [] if batch.decodes is None else [decode_tiles(batch.decodes)]
    return groups + ([prefill_tiles(batch.prefills, max_tokens)] if batch.prefills else [])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40)), min_size=1, max_size=8), st.integers(1, 16))
def test_tiles_cover_each_row_once_with_its_sequence_and_position(spans, max_tokens):
    seen = {}
    for group in all_tiles(batch_of(spans), max_tokens):
        for sequence, first_row, length, first_position in group.tiles.tolist():
            assert 1 <= length <= group.max_tokens <= max(1, max_tokens)
            for offset in range(length):
                assert first_row + offset not in seen
                position = first_position + offset
                seen[first_row + offset] = (int(group.tables[sequence, position // BLOCK_SIZE]), position)
    expected = [(7 + i, start + offset) for i, (start, length) in enumerate(spans) for offset in range(length)]
    assert [seen[row] for row in range(len(expected))] == expected


def test_decode_tiles_follow_their_inputs():
    """A recorded step makes them from positions that change under it."""
    batch = batch_of([(9, 1), (3, 1)])
    assert decode_tiles(batch.decodes).tiles.tolist() == [[0, 0, 1, 9], [1, 1, 1, 3]]
    batch.decodes.positions.copy_(torch.tensor([10, 0]))
    assert decode_tiles(batch.decodes).tiles[:, 3].tolist() == [10, 0]
