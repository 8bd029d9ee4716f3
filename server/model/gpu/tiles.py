"""Tiles of a step's attention: rows and the blocks that they attend over. One program of the kernel takes one tile.

A tile is four numbers: sequence (row of the block tables), first flat-batch row, tokens, position of the first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from server.model.flat_batch import DecodeGroup, PrefillSpan
from server.model.transfer import to_device


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Int64 on the device: `tiles` `[num_tiles, 4]` of at most `max_tokens` tokens each, and what they index.

    `tables` is `[num_sequences, max_blocks]`, in any memory order; padding is never read.
    """

    tiles: torch.Tensor
    tables: torch.Tensor
    max_tokens: int


def decode_tiles(group: DecodeGroup) -> Tiles:
    """One tile per sequence. Made on the device, so that a replayed step makes them from its current inputs."""
    num_sequences, device = len(group.positions), group.positions.device
    sequences = torch.arange(num_sequences, device=device)
    rows = _row_numbers(group.rows, sequences)
    tiles = torch.stack([sequences, rows, torch.ones_like(sequences), group.positions], dim=1)
    return Tiles(tiles, group.blocks, max_tokens=1)


def _row_numbers(rows: torch.Tensor | slice, sequences: torch.Tensor) -> torch.Tensor:
    return sequences + rows.start if isinstance(rows, slice) else rows


def prefill_tiles(spans: Sequence[PrefillSpan], max_tokens: int) -> Tiles:
    """Tiles of spans, of at most `max_tokens` each: one program takes one tile."""
    device = spans[0].blocks.device
    tiles = [
        (sequence, row, min(max_tokens, span.last - row), span.start + row - span.first)
        for sequence, span in enumerate(spans)
        for row in range(span.first, span.last, max_tokens)
    ]
    tables = pad_sequence([span.blocks for span in spans], batch_first=True)
    return Tiles(to_device(torch.tensor(tiles), device), tables, max_tokens)
