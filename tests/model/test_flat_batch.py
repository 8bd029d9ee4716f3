"""Chunks laid end to end: positions, slots, rows of logits, and how each chunk attends."""

from __future__ import annotations

import torch

from server.model.flat_batch import Chunk, build_flat_batch

CPU = torch.device("cpu")


def build(*chunks: Chunk):
    return build_flat_batch(chunks, 4, CPU)


def test_positions_and_slots_follow_each_sequence():
    batch = build(Chunk([7, 8, 9], 3, [5, 2], None), Chunk([1], 9, [6, 7, 3], 0))
    assert batch.positions.tolist() == [3, 4, 5, 9]
    assert batch.slots.tolist() == [5 * 4 + 3, 2 * 4, 2 * 4 + 1, 3 * 4 + 1]


def test_logits_are_wanted_of_rows_chunk_after_chunk():
    batch = build(
        Chunk([1, 2, 3], 0, [1], 2),
        Chunk([1, 2, 3], 0, [2], None),
        Chunk([1], 5, [3, 4], 0),
        Chunk([1, 2, 3, 4], 0, [5], 1),
    )
    assert batch.logits_rows.tolist() == [2, 6, 8, 9, 10]


def test_a_batch_without_logits_has_no_rows():
    batch = build(Chunk([1, 2], 0, [1], None))
    assert batch.logits_rows.tolist() == []
    assert batch.logits_rows.dtype is torch.long


def test_single_tokens_attend_together_over_padded_tables():
    """Padding is block 0; a table longer than its sequence is cut."""
    batch = build(Chunk([1], 9, [6, 7, 3, 8], 0), Chunk([1, 2], 0, [1], None), Chunk([4], 2, [9, 9], 0))
    assert batch.decodes is not None
    assert batch.decodes.rows.tolist() == [0, 3]
    assert batch.decodes.blocks.tolist() == [[6, 7, 3], [9, 0, 0]]
    assert batch.decodes.positions.tolist() == [9, 2]


def test_longer_chunks_attend_alone_over_their_own_blocks():
    batch = build(Chunk([1], 0, [1], None), Chunk([1, 2, 3, 4, 5], 2, [2, 3, 4, 5], None))
    (span,) = batch.prefills
    assert (span.first, span.last, span.start) == (1, 6, 2)
    assert span.blocks.tolist() == [2, 3]


def test_without_single_tokens_there_is_no_decode_group():
    assert build(Chunk([1, 2], 0, [1], None)).decodes is None


def test_a_soft_prompt_is_a_chunk_of_rows():
    chunk = Chunk(torch.zeros(6, 8), 0, [1, 2], None)
    assert (chunk.num_tokens, chunk.num_logits) == (6, 0)
    assert build(chunk).positions.tolist() == [0, 1, 2, 3, 4, 5]
