"""The paged KV cache: one pair of tensors per layer, addressed by block and slot."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from server.model.errors import OutOfDeviceMemory
from server.model.transfer import to_index


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Shapes that a layer stores per token: key `[num_kv_heads, key_dim]`, value `[num_kv_heads, value_dim]`."""

    num_kv_heads: int
    key_dim: int
    value_dim: int
    sliding_window: int | None


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """Copy the first `num_slots` slots of block `source` to block `target`, in every layer."""

    source: int
    target: int
    num_slots: int


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros. On a CPU the system provides each page when it is first written, so unused blocks cost nothing.

    Pages are large where the system has large ones: first writes to small ones cost several per cent of throughput.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.from_numpy(np.frombuffer(memory, dtype=np.uint8)).view(dtype).view(shape)


def _gather(pages: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    # Whole blocks as rows: several times faster on a CPU than indexing the four-dimensional tensor.
    rows = pages.flatten(1).index_select(0, blocks.flatten())
    return rows.view(blocks.shape[0], -1, *pages.shape[2:]).transpose(1, 2)


def _independent(copies: Sequence[BlockCopy]) -> Iterator[list[BlockCopy]]:
    """Runs of copies that can be done at once: no copy reads or writes a block that its run has written."""
    run: list[BlockCopy] = []
    written: set[int] = set()
    for copy in copies:
        if written & {copy.source, copy.target}:
            yield run
            run, written = [], set()
        run.append(copy)
        written.add(copy.target)
    if run:
        yield run


def _slots(copies: Sequence[BlockCopy], block_size: int) -> tuple[list[int], list[int]]:
    """The flat slots that copies read, and those they write."""
    pairs = [
        (copy.source * block_size + slot, copy.target * block_size + slot)
        for copy in copies
        for slot in range(copy.num_slots)
    ]
    return [source for source, _ in pairs], [target for _, target in pairs]


class KVCache:
    """Keys and values of `num_blocks` blocks of `block_size` slots.

    Per layer `[num_blocks, block_size, num_kv_heads, dim]`. Slot s of block b is row `b * block_size + s` when flat.
    Block 0 pads ragged block tables: it is never allocated and always zero, so that padding holds no NaN.
    Raises `OutOfDeviceMemory`.
    """

    def __init__(
        self, layers: Sequence[LayerShape], num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size

        def pages(num_heads: int, dim: int) -> torch.Tensor:
            return _zeros((num_blocks, block_size, num_heads, dim), dtype, device)

        try:
            self.keys = [pages(shape.num_kv_heads, shape.key_dim) for shape in layers]
            self.values = [pages(shape.num_kv_heads, shape.value_dim) for shape in layers]
        except (OSError, OverflowError, MemoryError, RuntimeError) as error:
            gib = num_blocks * self.bytes_per_block(layers, block_size, dtype) / 2**30
            raise OutOfDeviceMemory(
                f"{device} has no room for a KV cache of {gib:.4g} GiB: name a smaller one with --num-kv-blocks or "
                "--kv-cache-gib"
            ) from error
        # On a CPU the same memory as NumPy sees it: zeroing a few blocks costs a fraction of PyTorch's indexing.
        self._bytes = [
            pages.flatten(1).view(torch.uint8).numpy() for pages in (*self.keys, *self.values) if device.type == "cpu"
        ]

    @staticmethod
    def bytes_per_block(layers: Sequence[LayerShape], block_size: int, dtype: torch.dtype) -> int:
        """Memory of one block over all layers, in bytes."""
        numbers = sum(shape.num_kv_heads * (shape.key_dim + shape.value_dim) for shape in layers)
        return numbers * block_size * dtype.itemsize

    def write(self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Store `[num_tokens, num_kv_heads, dim]` rows at `slots` `[num_tokens]`."""
        self.keys[layer].flatten(0, 1).index_copy_(0, slots, key)
        self.values[layer].flatten(0, 1).index_copy_(0, slots, value)

    def gather(self, layer: int, blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of block tables `[num_sequences, num_blocks]`.

        Returns two `[num_sequences, num_kv_heads, num_blocks * block_size, dim]` (views whose slots are strided).
        """
        return _gather(self.keys[layer], blocks), _gather(self.values[layer], blocks)

    def copy(self, copies: Sequence[BlockCopy]) -> None:
        """Do block copies in order."""
        if not copies:
            return
        if self._bytes:
            for rows in self._bytes:
                slot_bytes = rows.shape[1] // self.block_size
                for copy in copies:
                    rows[copy.target, : copy.num_slots * slot_bytes] = rows[copy.source, : copy.num_slots * slot_bytes]
            return
        for run in _independent(copies):
            sources, targets = (to_index(slots, self.keys[0].device) for slots in _slots(run, self.block_size))
            for pages in (*self.keys, *self.values):
                slots = pages.flatten(0, 1)
                slots.index_copy_(0, targets, slots.index_select(0, sources))

    def zero(self, blocks: Sequence[int]) -> None:
        """Zero blocks, so that old content cannot reach the next owner through masked slots."""
        if not blocks:
            return
        if self._bytes:
            for rows in self._bytes:
                rows[list(blocks)] = 0
            return
        index = to_index(blocks, self.keys[0].device)
        for pages in (*self.keys, *self.values):
            pages.index_fill_(0, index, 0)

    def all_finite(self, blocks: Sequence[int]) -> bool:
        """Whether every number in these blocks is finite. Waits for the device once."""
        index = to_index(blocks, self.keys[0].device)
        finite = [torch.isfinite(pages.index_select(0, index)).all() for pages in (*self.keys, *self.values)]
        return bool(torch.stack(finite).all())
