"""Decode steps replayed from recordings: the choice of the recording, and its fixed inputs.

A recording (on CUDA, a graph: `cuda_graph.py`) repeats one forward pass over the same memory. So a step of n sequences
is copied into the inputs of the smallest recorded size that holds n; the rows left over are padding, which reads and
writes a block of its own. Everything here is independent of the device.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from server.model.flat_batch import Chunk

_IDS, _POSITIONS, _SLOTS, _TABLES = range(4)  # rows of the matrix of inputs; the tables take all that follow


class Recording(Protocol):
    """A recorded forward pass over fixed inputs."""

    def replay(self) -> torch.Tensor:
        """Run it; returns float32 logits `[size, vocab_size]`, in memory that the next replay writes again."""


class DecodeInputs:
    """The fixed inputs of one recorded size, on the device and as a host copy that is filled and sent.

    One matrix `[3 + max_blocks, size]` int64: ids, positions, slots, then a row for each column of the block tables, so
    that what a step uses of them is one contiguous copy. `padding_block` must belong to no sequence.
    """

    def __init__(self, size: int, max_blocks: int, block_size: int, padding_block: int, device: torch.device) -> None:
        self.size = size
        self._block_size = block_size
        self._padding = Chunk((0,), 0, (padding_block,), 0)
        is_cuda = device.type == "cuda"
        self._host = torch.zeros(_TABLES + max_blocks, size, dtype=torch.long, pin_memory=is_cuda)
        self._numbers = self._host.numpy()  # the same memory: writing single numbers to a tensor is slow
        self._device = torch.zeros(_TABLES + max_blocks, size, dtype=torch.long, device=device)
        self._tables: list[list[int]] = [[] for _ in range(size)]
        self._sent = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]
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
        return self._device[_TABLES:].T

    def fill(self, chunks: Sequence[Chunk]) -> None:
        """Copy a step of at most `size` one-token chunks to the device; every other row becomes padding."""
        if self._sent is not None:
            self._sent.synchronize()  # the last step's copy may still be reading
        rows = [*chunks, *[self._padding] * (self.size - len(chunks))]
        last_blocks = [chunk.start // self._block_size for chunk in rows]
        self._numbers[_IDS] = [chunk.tokens[0] for chunk in rows]
        self._numbers[_POSITIONS] = [chunk.start for chunk in rows]
        self._numbers[_SLOTS] = [chunk.block_table[block] for chunk, block in zip(rows, last_blocks, strict=True)]
        self._numbers[_SLOTS] *= self._block_size
        self._numbers[_SLOTS] += self._numbers[_POSITIONS] % self._block_size
        for row, (chunk, block) in enumerate(zip(rows, last_blocks, strict=True)):
            table = list(chunk.block_table[: block + 1])
            if table != self._tables[row]:  # seldom: a table grows once per block
                self._numbers[_TABLES : _TABLES + len(table), row] = table
                self._tables[row] = table
        used = _TABLES + max(last_blocks) + 1
        self._device[:used].copy_(self._host[:used], non_blocking=True)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(self._device.device))  # not that of the current device


class DecodeGraphs:
    """All recorded sizes of one model.

    `record` makes a recording over given inputs; it is called for every size, the largest first, so that smaller ones
    can share its memory.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        make_inputs: Callable[[int], DecodeInputs],
        record: Callable[[DecodeInputs], Recording],
    ) -> None:
        self.sizes = tuple(sorted(set(sizes)))
        self._inputs: dict[int, DecodeInputs] = {}
        self._recordings: dict[int, Recording] = {}
        for size in reversed(self.sizes):
            self._inputs[size] = make_inputs(size)
            self._recordings[size] = record(self._inputs[size])

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor | None:
        """Replay a step: float32 logits `[num_chunks, vocab_size]`.

        None where the step needs a forward pass of its own: it prefills, or is larger than any recording.
        """
        index = bisect_left(self.sizes, len(chunks))
        if not chunks or index == len(self.sizes) or not all(chunk.is_decode for chunk in chunks):
            return None
        size = self.sizes[index]
        self._inputs[size].fill(chunks)
        # A copy: the recordings share memory, and a caller may join the answers of two.
        return self._recordings[size].replay()[: len(chunks)].clone()


def usual_sizes(max_num_seqs: int) -> tuple[int, ...]:
    """1, 2, 4, multiples of 8 up to 64, of 16 up to 256, of 32 beyond; the last is `max_num_seqs`."""
    usual = (1, 2, 4, *range(8, 64, 8), *range(64, 256, 16), *range(256, max_num_seqs, 32))
    return (*(size for size in usual if size < max_num_seqs), max_num_seqs)
