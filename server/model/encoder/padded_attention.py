"""The same attention for a GPU: one call a layer, over sequences padded to the longest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from server.model.encoder.attention import EncoderCall, RaggedAttention
from server.model.encoder.batch import Group
from server.model.errors import UnsupportedArchitecture


class PaddedAttention:
    """The context of one batch. Padding is made and dropped within attention: no other layer computes it."""

    def __init__(self, groups: Sequence[Group], device: torch.device) -> None:
        starts = [first for group in groups for first in range(group.first, group.last, group.num_rows)]
        lengths = [group.num_rows for group in groups for _ in range(group.num_sequences)]
        before = [group.num_key_values for group in groups for _ in range(group.num_sequences)]
        first, length, num_before = (
            torch.tensor(numbers, device=device)[:, None] for numbers in (starts, lengths, before)
        )
        rows = torch.arange(max(lengths), device=device)
        self._most_before = max(before)
        self._is_row = rows < length  # [num_sequences, num_rows]
        self._rows = first + torch.minimum(rows, length - 1)
        # Keys and values stand before the rows, at the end of their room.
        places = torch.arange(self._most_before, device=device)
        self._is_key = torch.cat([places >= self._most_before - num_before, self._is_row], dim=1)
        self._key_values = self._pad(groups)
        self._layer = -1

    def attend(self, call: EncoderCall) -> torch.Tensor:
        """See `EncoderContext`."""
        self._layer += 1
        query, key, value = (part[:, self._rows].transpose(0, 1) for part in (call.query, call.key, call.value))
        mask = self._is_key[:, None, None]
        if call.sliding_window is not None:
            keys = torch.arange(mask.shape[-1], device=mask.device)
            mask = mask & ((keys[self._most_before :, None] - keys).abs() < call.sliding_window)
        if call.term is not None:
            if self._key_values is not None:
                raise UnsupportedArchitecture("the architecture takes no keys and values before its rows")
            mask = call.term(query, key).masked_fill(~mask, float("-inf"))
        if self._key_values is not None:
            keys_before, values_before = self._key_values[2 * self._layer : 2 * self._layer + 2]
            key, value = torch.cat([keys_before, key], dim=2), torch.cat([values_before, value], dim=2)
        is_grouped = key.shape[1] != query.shape[1]
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=call.scaling, enable_gqa=is_grouped
        )
        rows = attended.transpose(1, 2)[self._is_row]
        missing = call.query.shape[1] - len(rows)
        return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows

    def _pad(self, groups: Sequence[Group]) -> torch.Tensor | None:
        """Keys and values `[2 * num_layers, num_sequences, num_kv_heads, most_before, head_dim]`; None without any."""
        held = [tensor for group in groups for tensor in group.key_values]
        if not held:
            return None
        num_layers, num_heads, _, dim = held[0].shape
        padded = held[0].new_zeros(num_layers, len(self._rows), num_heads, self._most_before, dim)
        sequences = [tensor for group in groups for tensor in group.key_values or (None,) * group.num_sequences]
        for index, tensor in enumerate(sequences):
            if tensor is not None:
                padded[:, index, :, self._most_before - tensor.shape[2] :] = tensor
        return padded


def choose_context(groups: Sequence[Group], device: torch.device) -> RaggedAttention | PaddedAttention:
    """The context of a batch on a device: a GPU waits for each call, a CPU for each number."""
    return PaddedAttention(groups, device) if device.type == "cuda" and len(groups) > 1 else RaggedAttention(groups)
