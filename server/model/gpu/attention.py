"""Paged attention by our Triton kernels: blocks are read in place, nothing is gathered or repeated."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from server.model.attention import AttentionCall
from server.model.flat_batch import FlatBatch
from server.model.gpu.tiles import Tiles, decode_tiles, prefill_tiles
from server.model.kv_cache import KVCache

# Programs that fill a device of unknown size, and the maximum number of parts of a context.
_DEFAULT_PROGRAMS = 256
_MAX_SPLITS = 32
_SMALLEST_PRODUCT = 16  # rows, columns and depth of a matrix product on tensor cores
_TILE_BYTES = 16 * 1024  # of keys or of values; with prefetching it fits the shared memory of a consumer's GPU too


def is_triton_available() -> bool:
    """Whether the kernels can be imported (PyTorch's CUDA builds for Linux bring Triton along)."""
    return importlib.util.find_spec("triton") is not None


class TritonAttention:
    """The context of one step; see `AttentionContext`.

    Nothing here reads a number back from the device, so a forward pass can be captured in a CUDA graph. `num_splits`
    parts of a decoding sequence's context go to programs of their own; None chooses.
    """

    def __init__(self, kv_cache: KVCache, batch: FlatBatch, num_splits: int | None = None) -> None:
        self._cache = kv_cache
        self._batch = batch
        self._num_splits = num_splits
        self._decodes = None if batch.decodes is None else decode_tiles(batch.decodes)
        self._prefills: dict[int, Tiles] = {}

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Store the new keys and values, then attend."""
        # Triton launches on the current device, which need not be that of the tensors.
        with torch.cuda.device_of(call.query):  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return self._attend_all(call)

    def _attend_all(self, call: AttentionCall) -> torch.Tensor:
        key_pages, value_pages = self._cache.keys[call.layer], self._cache.values[call.layer]
        _store(call, key_pages, value_pages, self._batch.slots)
        num_heads, num_tokens, key_dim = call.query.shape
        num_kv_heads, _, value_dim = call.value.shape
        output = call.query.new_empty(num_tokens, num_heads, value_dim)
        if self._decodes is not None:
            splits = self._num_splits or choose_splits(len(self._decodes.tiles), num_kv_heads, output.device)
            _attend(call, key_pages, value_pages, self._decodes, splits, output)
        if self._batch.prefills:
            most = max_tile_tokens(num_heads // num_kv_heads, key_dim, output.dtype)
            if most not in self._prefills:
                self._prefills[most] = prefill_tiles(self._batch.prefills, most)
            _attend(call, key_pages, value_pages, self._prefills[most], 1, output)
        return output


def max_tile_tokens(heads_each: int, key_dim: int, dtype: torch.dtype) -> int:
    """Tokens of one sequence that a program takes in prefill, where `heads_each` query heads share a KV head."""
    rows = 64 if _width(key_dim) * dtype.itemsize <= 256 else 32
    return max(1, rows // heads_each)


def choose_splits(num_sequences: int, num_kv_heads: int, device: torch.device) -> int:
    """The number of parts per context with which decoding fills the device: a power of two."""
    wanted = _DEFAULT_PROGRAMS
    if device.type == "cuda":
        wanted = 2 * torch.cuda.get_device_properties(device).multi_processor_count
    splits = 1
    while splits < _MAX_SPLITS and splits * num_sequences * num_kv_heads < wanted:
        splits *= 2
    return splits


def _store(call: AttentionCall, key_pages: torch.Tensor, value_pages: torch.Tensor, slots: torch.Tensor) -> None:
    from server.model.gpu.kernels import store_kernel

    key, value = _dense_rows(call.key), _dense_rows(call.value)
    num_kv_heads, num_tokens, key_dim = key.shape
    value_dim = value.shape[-1]
    store_kernel[(num_tokens, num_kv_heads)](
        *(key, value, key_pages, value_pages, slots),
        *(*key.stride()[:2], *value.stride()[:2], num_kv_heads),
        KEY_DIM=key_dim,
        VALUE_DIM=value_dim,
        WIDTH=_width(max(key_dim, value_dim)),
        num_warps=1,
    )


def _attend(
    call: AttentionCall,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    group: Tiles,
    num_splits: int,
    output: torch.Tensor,
) -> None:
    """Fill the tiles' rows of `output`. More than one split is for tiles of one token."""
    from server.model.gpu.kernels import attend_kernel, join_kernel

    query = _dense_rows(call.query)
    num_heads, num_tokens, key_dim = query.shape
    _, block_size, num_kv_heads, value_dim = value_pages.shape
    num_tiles = len(group.tiles)
    unused = output  # a pointer that the kernel never follows
    sinks = unused if call.sinks is None else call.sinks
    bias = unused if call.bias is None else call.bias.table
    parts = maxima = sums = unused
    if num_splits > 1:
        parts = output.new_empty(num_splits, num_tokens, num_heads, value_dim, dtype=torch.float32)
        maxima, sums = output.new_empty(2, num_splits, num_tokens, num_heads, dtype=torch.float32)
    shared: dict[str, Any] = {
        "VALUE_DIM": value_dim,
        "VALUE_WIDTH": _width(value_dim),
        "HAS_SINKS": call.sinks is not None,
        "NUM_SPLITS": num_splits,
        "num_warps": 4,
    }
    attend_kernel[(num_tiles, num_kv_heads, num_splits)](
        *(query, key_pages, value_pages, sinks, bias, output, parts, maxima, sums, group.tiles, group.tables),
        *(float(call.scaling), float(call.softcap or 0.0), 0 if call.bias is None else bias.shape[1]),
        *(*query.stride()[:2], *group.tables.stride(), num_kv_heads, num_tokens),
        BLOCK_SIZE=block_size,
        GROUP=num_heads // num_kv_heads,
        KEY_DIM=key_dim,
        KEY_WIDTH=_width(key_dim),
        ROWS=_width(group.max_tokens * (num_heads // num_kv_heads)),
        SLOTS=_slots(max(key_dim, value_dim), key_pages.dtype),
        WINDOW=call.sliding_window or 0,
        HAS_SOFTCAP=call.softcap is not None,
        HAS_BIAS=call.bias is not None,
        BIAS_IS_RELATIVE=call.bias is not None and call.bias.is_relative,
        # Triton's interpreter, which stands in for a GPU in tests, would multiply bfloat16's bit patterns.
        WIDEN=query.dtype is torch.bfloat16 and not query.is_cuda,
        num_stages=2,
        **shared,
    )
    if num_splits > 1:
        join_kernel[(num_tiles, num_heads)](
            *(parts, maxima, sums, sinks, output, group.tiles, num_heads, num_tokens), **shared
        )


def _dense_rows(rows: torch.Tensor) -> torch.Tensor:
    """`[num_heads, num_tokens, dim]` whose last dimension is dense, as the kernels read it."""
    return rows if rows.stride(-1) == 1 else rows.contiguous()


def _slots(dim: int, dtype: torch.dtype) -> int:
    """Slots per iteration of the kernel's loop."""
    return max(_SMALLEST_PRODUCT, min(64, _TILE_BYTES // (_width(dim) * dtype.itemsize)))


def _width(number: int) -> int:
    """The power of two that holds `number`, and a matrix product can have."""
    return max(_SMALLEST_PRODUCT, 1 << (number - 1).bit_length())
