"""The flat batch: chunks of many sequences laid end to end, without padding, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The part of one sequence that a step computes.

    `tokens` are ids, or the rows of a soft prompt `[num_tokens, hidden_size]`. `start` is the position of the first
    (virtual tokens count). `block_table` covers at least `start + num_tokens` positions. Logits are made for the rows
    from `logits_from` on (an index into the chunk); None makes none.
    """

    tokens: Sequence[int] | torch.Tensor
    start: int
    block_table: Sequence[int]
    logits_from: int | None

    @property
    def num_tokens(self) -> int:
        """Rows of the flat batch that it takes."""
        return len(self.tokens)

    @property
    def num_logits(self) -> int:
        """Rows of logits that it asks for."""
        return 0 if self.logits_from is None else self.num_tokens - self.logits_from


@dataclass(frozen=True, slots=True, eq=False)
class DecodeGroup:
    """All chunks of one token, attended together over padded block tables.

    `rows` `[num_sequences]` are flat-batch rows, `blocks` `[num_sequences, max_blocks]` (padded with block 0),
    `positions` `[num_sequences]` the position of each query token.
    """

    rows: torch.Tensor
    blocks: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PrefillSpan:
    """One chunk of several tokens: rows `first` to `last` (exclusive), attending over `blocks` `[num_blocks]`."""

    first: int
    last: int
    start: int
    blocks: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FlatBatch:
    """A step as tensors: `positions` and `slots` are `[num_tokens]`.

    `logits_rows` `[num_logits]` selects flat-batch rows, chunk after chunk.
    """

    positions: torch.Tensor
    slots: torch.Tensor
    logits_rows: torch.Tensor
    decodes: DecodeGroup | None
    prefills: tuple[PrefillSpan, ...]


def build_flat_batch(chunks: Sequence[Chunk], block_size: int, device: torch.device) -> FlatBatch:
    """Lay chunks end to end."""
    positions: list[int] = []
    slots: list[int] = []
    logits_rows: list[int] = []
    decodes: list[tuple[int, Chunk]] = []
    prefills: list[PrefillSpan] = []
    for chunk in chunks:
        first, last = len(positions), len(positions) + chunk.num_tokens
        for position in range(chunk.start, chunk.start + chunk.num_tokens):
            positions.append(position)
            slots.append(chunk.block_table[position // block_size] * block_size + position % block_size)
        if chunk.logits_from is not None:
            logits_rows.extend(range(first + chunk.logits_from, last))
        if chunk.num_tokens == 1:
            decodes.append((first, chunk))
        else:
            num_blocks = -(-(chunk.start + chunk.num_tokens) // block_size)
            blocks = torch.tensor(chunk.block_table[:num_blocks], device=device)
            prefills.append(PrefillSpan(first, last, chunk.start, blocks))
    return FlatBatch(
        positions=torch.tensor(positions, device=device),
        slots=torch.tensor(slots, device=device),
        logits_rows=torch.tensor(logits_rows, dtype=torch.long, device=device),
        decodes=_decode_group(decodes, block_size, device) if decodes else None,
        prefills=tuple(prefills),
    )


def _decode_group(decodes: Sequence[tuple[int, Chunk]], block_size: int, device: torch.device) -> DecodeGroup:
    width = max(chunk.start // block_size + 1 for _, chunk in decodes)
    tables = []
    for _, chunk in decodes:
        table = list(chunk.block_table[: chunk.start // block_size + 1])
        tables.append(table + [0] * (width - len(table)))
    return DecodeGroup(
        rows=torch.tensor([row for row, _ in decodes], device=device),
        blocks=torch.tensor(tables, device=device),
        positions=torch.tensor([chunk.start for _, chunk in decodes], device=device),
    )
