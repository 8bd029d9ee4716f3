"""The flat batch: chunks of many sequences end to end, without padding, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from server.model.hidden_rows import HiddenRows
from server.model.transfer import to_device

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EncoderInput:
    """The input of an encoder: the rows of a soft prompt `[num_virtual_tokens, hidden_size]` or None, then text ids."""

    prompt: torch.Tensor | None
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Cross:
    """What a decoder's sequence attends to besides itself: the keys and values of its encoder's output.

    `block_table` covers `num_positions`. They are computed in the step that brings `new`, and read in all steps.
    """

    block_table: Sequence[int]
    num_positions: int
    new: EncoderInput | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The part of one sequence that a step computes.

    `tokens` are ids, or the rows of a soft prompt `[num_tokens, hidden_size]`. `start` is the position of the first
    (virtual tokens count). `block_table` covers at least `start + num_tokens` positions. Logits are made for the rows
    from `logits_from` on (an index into the chunk); None makes none. `cross` is for a decoder behind an
    encoder, and `hidden` takes hidden states, if it is there.
    """

    tokens: Sequence[int] | torch.Tensor
    start: int
    block_table: Sequence[int]
    logits_from: int | None
    cross: Cross | None = None
    hidden: HiddenRows | None = None

    @property
    def num_tokens(self) -> int:
        """Rows of the flat batch that it takes."""
        return len(self.tokens)

    @property
    def is_decode(self) -> bool:
        """Whether it is one token's id, and asks for its logits."""
        return len(self.tokens) == 1 and self.logits_from == 0 and not isinstance(self.tokens, torch.Tensor)

    @property
    def num_logits(self) -> int:
        """Rows of logits to compute."""
        return 0 if self.logits_from is None else self.num_tokens - self.logits_from


@dataclass(frozen=True, slots=True, eq=False)
class DecodeGroup:
    """All chunks of one token, attended together over padded block tables.

    `rows` selects their `num_sequences` flat-batch rows (a slice where they lie side by side), `blocks`
    `[num_sequences, max_blocks]` (padded with block 0), `positions` `[num_sequences]` the position of each query token.
    """

    rows: torch.Tensor | slice
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

    `token_ids` `[num_tokens]` are None where a soft prompt's rows are in the batch. `logits_rows` `[num_logits]`
    selects flat-batch rows, chunk after chunk.
    """

    token_ids: torch.Tensor | None
    positions: torch.Tensor
    slots: torch.Tensor
    logits_rows: torch.Tensor
    decodes: DecodeGroup | None
    prefills: tuple[PrefillSpan, ...]


def build_flat_batch(chunks: Sequence[Chunk], block_size: int, device: torch.device) -> FlatBatch:
    """Lay chunks end to end."""
    lengths = np.array([chunk.num_tokens for chunk in chunks])
    starts = np.array([chunk.start for chunk in chunks])
    ends = np.cumsum(lengths)
    owners = np.repeat(np.arange(len(chunks)), lengths)
    positions = np.arange(ends[-1]) + (starts - ends + lengths)[owners]
    num_blocks = -(-(starts + lengths) // block_size)
    tables = _padded_tables(chunks, num_blocks)
    slots = tables[owners, positions // block_size] * block_size + positions % block_size

    def put(array: npt.NDArray[Any]) -> torch.Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(array)), device)

    is_decode = lengths == 1
    return FlatBatch(
        token_ids=None if (ids := _token_ids(chunks)) is None else put(ids),
        positions=put(positions),
        slots=put(slots),
        logits_rows=put(_logits_rows(chunks, ends)),
        decodes=DecodeGroup(
            rows=_as_slice(rows := (ends - 1)[is_decode]) or put(rows),
            blocks=put(tables[is_decode, : num_blocks[is_decode].max()]),
            positions=put(starts[is_decode]),
        )
        if is_decode.any()
        else None,
        prefills=tuple(
            PrefillSpan(
                first=int(ends[index] - lengths[index]),
                last=int(ends[index]),
                start=chunks[index].start,
                blocks=put(tables[index, : num_blocks[index]]),
            )
            for index in np.flatnonzero(~is_decode).tolist()
        ),
    )


def _padded_tables(chunks: Sequence[Chunk], num_blocks: _Ints) -> _Ints:
    """Block tables `[num_chunks, max_blocks]`, as far as each chunk attends, padded with block 0."""
    tables = np.zeros((len(chunks), int(num_blocks.max())), dtype=np.int64)
    for row, chunk, width in zip(tables, chunks, num_blocks.tolist(), strict=True):
        row[:width] = chunk.block_table[:width]
    return tables


def _token_ids(chunks: Sequence[Chunk]) -> _Ints | None:
    ids: list[int] = []
    for chunk in chunks:
        if isinstance(chunk.tokens, torch.Tensor):
            return None
        ids.extend(chunk.tokens)
    return np.array(ids)


def _logits_rows(chunks: Sequence[Chunk], ends: _Ints) -> _Ints:
    rows: list[int] = []
    for chunk, end in zip(chunks, ends.tolist(), strict=True):
        rows.extend(range(end - chunk.num_logits, end))
    return np.array(rows, dtype=np.int64)


def _as_slice(rows: _Ints) -> slice | None:
    """The rows as a slice, where they lie side by side: indexing with one copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else None
