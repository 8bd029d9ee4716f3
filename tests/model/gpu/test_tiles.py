"""Tiles cover every row once, and no tile is larger than a program takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.model.flat_batch import Chunk
from server.model.gpu.tiles import plan_tiles


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40)), min_size=1, max_size=8), st.integers(1, 16))
def test_tiles_cover_each_row_once_with_its_position(spans, max_tokens):
    chunks = [Chunk([0] * length, start, [7] * 30, None) for start, length in spans]
    plan = plan_tiles(chunks, 4, max_tokens)
    seen = {}
    for tiles, most in ((plan.decodes, 1), (plan.prefills, max_tokens)):
        for sequence, first_row, length, first_position in tiles.tolist():
            assert 1 <= length <= most
            for offset in range(length):
                assert first_row + offset not in seen
                seen[first_row + offset] = (sequence, first_position + offset)
    expected = [(i, start + offset) for i, (start, length) in enumerate(spans) for offset in range(length)]
    assert [seen[row] for row in range(len(expected))] == expected


def test_tables_are_padded_with_block_zero():
    plan = plan_tiles([Chunk([0], 9, [5, 6, 7, 8], None), Chunk([0, 0], 0, [3], None)], 4, 16)
    assert plan.tables.tolist() == [[5, 6, 7], [3, 0, 0]]


def test_a_batch_without_one_kind_has_no_tiles_of_it():
    plan = plan_tiles([Chunk([0], 9, [5, 6, 7], None)], 4, 16)
    assert plan.prefills.shape == (0, 4)
    assert len(plan.decodes) == 1
