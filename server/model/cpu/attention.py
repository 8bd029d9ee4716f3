"""Attention on a CPU that reads the blocks in place, through a small C module.

The module (`_cpu.c`) is built when the package is installed, where there is a C compiler (GCC 12, Clang 15 or newer).
Without it, and for calls that it does not support, the exact path of `PagedAttention` computes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from server.model.attention import AttentionCall
from server.model.paged_attention import PagedAttention

try:
    from server.model.cpu import _cpu
except ImportError:
    _cpu = None  # type: ignore[assignment]

_MAX_HEAD_DIM, _LANES = 256, 16  # MAX_DIM and TILE of _cpu.c: it computes heads of whole vectors
# Up to this position token by token is faster: nothing that a token does not see is computed. The two ways round in
# another order. A token's position decides, not its chunk's size: int8 layers make much of the smallest difference.
_SHORT = 64


def is_built() -> bool:
    """Whether the C module is there."""
    return _cpu is not None


class CpuPagedAttention(PagedAttention):
    """The same answers as `PagedAttention`, without gathering the keys and values of decodes and prefills."""

    def _store(self, call: AttentionCall) -> None:
        key, value = call.key.transpose(0, 1), call.value.transpose(0, 1)  # [num_tokens, num_kv_heads, head_dim]
        if not (key.dtype == torch.float32 and key.shape == value.shape and _is_row(key) and _is_row(value)):
            super()._store(call)
            return
        _cpu.store(
            self._cache.keys[call.layer].data_ptr(),
            self._cache.values[call.layer].data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            self._batch.slots.data_ptr(),
            len(self._batch.slots),
            key.shape[1] * key.shape[2],
            key.stride(0),
            value.stride(0),
        )

    def _decode(self, call: AttentionCall) -> torch.Tensor:
        if not can_compute(call):
            return super()._decode(call)
        group = self._batch.decodes
        assert group is not None
        query = call.query[:, group.rows].transpose(0, 1)
        output = torch.empty(query.shape)
        self._compute(_cpu.decode_attention, call, output, query, group.blocks, group.positions)
        return output

    def _prefill(self, call: AttentionCall, index: int) -> torch.Tensor:
        span = self._batch.prefills[index]
        if not can_compute(call):
            return super()._prefill(call, index)
        query = call.query[:, span.first : span.last].transpose(0, 1)
        positions = torch.arange(span.start, span.start + len(query))
        output = torch.empty(query.shape)
        num_short = min(max(_SHORT - span.start, 0), len(query))
        short, long = slice(0, num_short), slice(num_short, len(query))
        if num_short:
            tables = span.blocks.expand(num_short, -1).contiguous()
            self._compute(_cpu.decode_attention, call, output[short], query[short], tables, positions[short])
        if num_short < len(query):
            tables = span.blocks[None]
            self._compute(_cpu.prefill_attention, call, output[long], query[long], tables, positions[long])
        return output

    def _compute(
        self,
        attention: Callable[..., None],
        call: AttentionCall,
        output: torch.Tensor,
        query: torch.Tensor,
        tables: torch.Tensor,
        positions: torch.Tensor,
    ) -> None:
        """Rows `[num_rows, num_heads, head_dim]` over block tables, to `output`, alike; see `Task` in `_cpu.c`."""
        keys, values = self._cache.keys[call.layer], self._cache.values[call.layer]
        num_rows, num_heads, dim = query.shape
        bias = call.bias
        attention(
            output.data_ptr(),
            query.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            tables.data_ptr(),
            positions.data_ptr(),
            num_rows,
            num_heads,
            keys.shape[2],
            dim,
            self._cache.block_size,
            tables.shape[1],
            query.stride(0),
            query.stride(1),
            call.sliding_window or 0,
            0 if bias is None else bias.table.data_ptr(),
            0 if bias is None else bias.table.shape[1],
            bias is not None and bias.is_relative,
            call.scaling,
            torch.get_num_threads(),
        )


def can_compute(call: AttentionCall) -> bool:
    """Whether the C module computes this: float32, keys as wide as values, neither score capping nor sinks."""
    query, dim = call.query, call.query.shape[-1]
    plain = call.softcap is None and call.sinks is None and query.dtype == torch.float32 and query.stride(-1) == 1
    return plain and dim == call.value.shape[-1] <= _MAX_HEAD_DIM and dim % _LANES == 0


def _is_row(heads: torch.Tensor) -> bool:
    """Whether each token's heads `[num_tokens, num_heads, dim]` lie side by side."""
    return heads.stride()[1:] == (heads.shape[2], 1)
