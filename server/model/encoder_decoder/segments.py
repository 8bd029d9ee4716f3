"""Encoder inputs end to end, without padding: each row attends to every row of its own input, and to no other."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from server.model.attention import AttentionCall


class SegmentAttention:
    """The attention context of an encoder's pass over inputs of these `lengths`, end to end. Nothing is stored."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._lengths = tuple(lengths)
        self._device = device
        self._biases: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def positions(self) -> torch.Tensor:
        """The position `[num_rows]` of each row in its own input."""
        return torch.cat([torch.arange(length, device=self._device) for length in self._lengths])

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """See `AttentionContext`. Rows beyond the inputs (`cpu.packing.padded_rows`) get zeros."""
        num_heads, num_rows, _ = call.query.shape
        output = call.query.new_zeros(num_rows, num_heads, call.value.shape[-1])
        first = 0
        for length in self._lengths:
            rows = slice(first, first + length)
            first = rows.stop
            attended = torch.nn.functional.scaled_dot_product_attention(
                call.query[None, :, rows],
                call.key[None, :, rows],
                call.value[None, :, rows],
                attn_mask=self._bias(call, length),
                scale=call.scaling,
            )
            output[rows] = attended[0].transpose(0, 1)
        return output

    def _bias(self, call: AttentionCall, length: int) -> torch.Tensor | None:
        """`[1, num_heads, length, length]`, made once per pass for all layers with the same table."""
        if call.bias is None:
            return None
        key = (call.bias.table.data_ptr(), length)
        if key not in self._biases:
            positions = torch.arange(length, device=self._device)
            self._biases[key] = call.bias.rows(positions, length)[None].to(call.query.dtype)
        return self._biases[key]
