"""Decode steps replayed from recordings: which recording a step takes, and what its fixed inputs are filled with.

A recording (on CUDA, a graph: `cuda_graph.py`) repeats one forward pass over the same memory. So a step of n sequences is
copied into the inputs of the smallest recorded size that holds n; the rows left over are padding, which reads and writes
a block of its own. Everything here is independent of the device.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from server.model.flat_batch import Chunk

_IDS, _POSITIONS, _SLOTS, _FIRST_BLOCK = range(4)


class Recording(Protocol):
    """A recorded forward pass over fixed inputs."""

    def replay(self) -> torch.Tensor:
        """Run it; returns logits `[size, vocab_size]`, in memory that the next replay writes again."""


class DecodeInputs:
    """The fixed inputs of one recorded size, on the device and as a host copy that is filled and sent.

    One matrix `[3 + max_blocks, size]` int64: ids, positions, slots, then a row for each column of the block tables, so
    that what a step uses of them is one contiguous copy.
    """

    def __init__(self, size: int, max_blocks: int, block_size: int, padding_block: int, device: torch.device) -> None:
        self.size = size
        self._block_size = block_size
        self._padding = (0, 0, padding_block * block_size, [padding_block])
        on_cuda = device.type == "cuda"
        self._host = torch.zeros(_FIRST_BLOCK + max_blocks, size, dtype=torch.long, pin_memory=on_cuda)
        self._numbers = self._host.numpy()  # a view: writing single numbers to a tensor is slow
        self._device = torch.zeros_like(self._host, device=device, pin_memory=False)
        self._tables: list[list[int]] = [[] for _ in range(size)]
        self._sent = torch.cuda.Event() if on_cuda else None
        self._num_filled = size
        self.fill(())

    @property
    def input_ids(self) -> torch.Tensor:
        """`[size]`."""
        return self._device[_IDS]

    @property
    def positions(self) -> torch.Tensor:
        """`[size]`."""
        return self._device[_POSITIONS]

    @property
    def slots(self) -> torch.Tensor:
        """`[size]`: where each row's key and value go."""
        return self._device[_SLOTS]

    @property
    def tables(self) -> torch.Tensor:
        """`[size, max_blocks]`, strided."""
        return self._device[_FIRST_BLOCK:].T

    def fill(self, chunks: Sequence[Chunk]) -> None:
        """Copy a step of at most `size` one-token chunks to the device; every other row becomes padding."""
        if self._sent is not None:
            self._sent.synchronize()  # the last step's copy may still be reading
        for row, chunk in enumerate(chunks):
            token = chunk.tokens[0]
            assert isinstance(token, int)
            block = chunk.start // self._block_size
            table = list(chunk.block_table[: block + 1])
            slot = table[block] * self._block_size + chunk.start % self._block_size
            self._set(row, token, chunk.start, slot, table)
        for row in range(len(chunks), self._num_filled):
            self._set(row, *self._padding)
        self._num_filled = len(chunks)
        used = _FIRST_BLOCK + max((len(table) for table in self._tables), default=1)
        self._device[:used].copy_(self._host[:used], non_blocking=True)
        if self._sent is not None:
            self._sent.record()

    def _set(self, row: int, token: int, position: int, slot: int, table: list[int]) -> None:
        self._numbers[:_FIRST_BLOCK, row] = token, position, slot
        if table != self._tables[row]:  # seldom: a table grows once a block
            self._numbers[_FIRST_BLOCK : _FIRST_BLOCK + len(table), row] = table
            self._tables[row] = table


class DecodeGraphs:
    """All recorded sizes of one model.

    `record` makes a recording of given inputs; it is called for every size, the largest first (so that smaller ones can
    share its memory). `padding_block` must belong to nobody.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        record: Callable[[DecodeInputs], Recording],
        *,
        max_blocks: int,
        block_size: int,
        padding_block: int,
        device: torch.device,
    ) -> None:
        self._sizes = sorted(set(sizes))
        self._inputs: dict[int, DecodeInputs] = {}
        self._recordings: dict[int, Recording] = {}
        for size in reversed(self._sizes):
            self._inputs[size] = DecodeInputs(size, max_blocks, block_size, padding_block, device)
            self._recordings[size] = record(self._inputs[size])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Recorded numbers of sequences, ascending."""
        return tuple(self._sizes)

    def size_for(self, chunks: Sequence[Chunk]) -> int | None:
        """The recorded size that serves this step; None where only a forward pass of its own does."""
        if not all(_is_decode(chunk) for chunk in chunks):
            return None
        index = bisect_left(self._sizes, len(chunks))
        return self._sizes[index] if chunks and index < len(self._sizes) else None

    def run(self, chunks: Sequence[Chunk], size: int) -> torch.Tensor:
        """Replay a step; returns logits `[num_chunks, vocab_size]`, valid until the next one."""
        self._inputs[size].fill(chunks)
        return self._recordings[size].replay()[: len(chunks)]


def usual_sizes(max_num_seqs: int) -> tuple[int, ...]:
    """1, 2, 4 and multiples of 8 up to 64, then steps of 16 and of 32 beyond 256; the last is `max_num_seqs`."""
    usual = (1, 2, 4, *range(8, 65, 8), *range(80, 257, 16), *range(288, max_num_seqs + 1, 32))
    return tuple(size for size in usual if size < max_num_seqs) + (max_num_seqs,)


def _is_decode(chunk: Chunk) -> bool:
    return chunk.num_tokens == 1 and chunk.logits_from == 0 and not isinstance(chunk.tokens, torch.Tensor)
