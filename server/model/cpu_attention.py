"""Decode attention that reads the blocks where they lie, on a CPU, through a small C module.

The module (`_cpu.c`) is built when the package is installed, where there is a C compiler (GCC 12, Clang 15 or newer).
Without it, and for what it does not compute, the exact path of `PagedAttention` stands.
"""

from __future__ import annotations

import torch

from server.model.attention import AttentionCall
from server.model.paged_attention import PagedAttention

try:
    from server.model import _cpu
except ImportError:
    _cpu = None  # type: ignore[assignment]

_MAX_HEAD_DIM, _LANES = 256, 16  # MAX_DIM and TILE of _cpu.c: it computes heads of whole vectors


def is_built() -> bool:
    """Whether the C module is there."""
    return _cpu is not None


class CpuPagedAttention(PagedAttention):
    """The same answers as `PagedAttention`, without gathering keys and values of decodes."""

    def _store(self, call: AttentionCall) -> None:
        key, value = call.key.transpose(0, 1), call.value.transpose(0, 1)  # [num_tokens, num_kv_heads, head_dim]
        same_width = key.shape[1:] == value.shape[1:]
        if not (same_width and key.dtype == torch.float32 and key.is_contiguous() and value.is_contiguous()):
            super()._store(call)
            return
        _cpu.store(
            self._cache.keys[call.layer].data_ptr(),
            self._cache.values[call.layer].data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            self._batch.slots.data_ptr(),
            key.shape[0],
            key.shape[1] * key.shape[2],
        )

    def _decode(self, call: AttentionCall) -> torch.Tensor:
        if not _is_computed(call):
            return super()._decode(call)
        group = self._batch.decodes
        assert group is not None
        keys, values = self._cache.keys[call.layer], self._cache.values[call.layer]
        query = call.query[:, group.rows].transpose(0, 1)  # [num_sequences, num_heads, head_dim]
        output = torch.empty(query.shape)
        num_sequences, num_heads, dim = query.shape
        _cpu.decode_attention(
            output.data_ptr(),
            query.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            group.blocks.data_ptr(),
            group.positions.data_ptr(),
            num_sequences,
            num_heads,
            keys.shape[2],
            dim,
            self._cache.block_size,
            group.blocks.shape[1],
            query.stride(0),
            query.stride(1),
            call.sliding_window or 0,
            call.scaling,
            torch.get_num_threads(),
        )
        return output


def _is_computed(call: AttentionCall) -> bool:
    """Whether the C module computes this: float32, keys as wide as values, neither score capping nor sinks."""
    query, dim = call.query, call.query.shape[-1]
    plain = call.softcap is None and call.sinks is None and query.dtype == torch.float32 and query.stride(-1) == 1
    return plain and dim == call.value.shape[-1] <= _MAX_HEAD_DIM and dim % _LANES == 0
