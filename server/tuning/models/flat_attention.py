"""Attention of a flat micro-batch: each example sees the virtual tokens and itself, and no other example.

Examples of similar lengths attend side by side, padded for attention alone. There is never a matrix of all tokens
against all tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from server.model.attention import AttentionCall
from server.model.paged_attention import explicit_attention, visible

_MAX_MASK = 1 << 20
"""Maximum number of values in a mask. A larger one is replaced by empty queries of the virtual tokens."""

_MAX_GROUP = 1 << 18
"""Maximum number of scores per head of several examples side by side."""

_LONGEST_TO_SHORTEST = 1.5
"""Maximum ratio of the lengths of examples side by side."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerKeyValues:
    """Keys and values of the virtual tokens in one layer, each `[num_kv_heads, num_virtual_tokens, head_dim]`."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Examples side by side, padded to `width` tokens.

    `rows` `[num_examples * width]` are rows of the text, with any row as padding. `is_real` `[num_examples * width]`
    marks the rows that are no padding; None where no row is.
    """

    num_examples: int
    width: int
    rows: slice | torch.Tensor
    is_real: torch.Tensor | None


class FlatAttention:
    """The context of one forward and backward pass (see `server.model.attention.AttentionContext`).

    `lengths` are the tokens of each example. The flat row begins with `num_virtual` virtual tokens, unless `key_values`
    holds their keys and values per layer.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        num_virtual: int,
        device: torch.device,
        key_values: Sequence[LayerKeyValues] | None = None,
    ) -> None:
        self._device = device
        self._num_virtual = num_virtual
        self._key_values = key_values
        self._groups = [_group(first, each, device) for first, each in _cut(lengths, num_virtual)]
        self._masks: dict[tuple[int, int, int | None], torch.Tensor] = {}

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Return `[num_tokens, num_heads, value_head_dim]`."""
        query, key, value = call.query, call.key, call.value
        outputs: list[torch.Tensor] = []
        if self._key_values is None:
            first = self._num_virtual
            shared = LayerKeyValues(key[:, :first], value[:, :first])
            if first:
                outputs.append(self._attend(call, query[None, :, :first], key[None, :, :first], value[None, :, :first]))
            query, key, value = query[:, first:], key[:, first:], value[:, first:]
        else:
            found = self._key_values[call.layer]
            shared = LayerKeyValues(found.keys.to(key.dtype), found.values.to(value.dtype))
        for group in self._groups:
            keys, values = (
                _behind(virtual, _rows(own, group)) for virtual, own in ((shared.keys, key), (shared.values, value))
            )
            output = self._attend(call, _rows(query, group), keys, values)
            outputs.append(output if group.is_real is None else output[group.is_real])
        return torch.cat(outputs)

    def _attend(self, call: AttentionCall, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend from the last tokens of each example: `[num_examples * num_queries, num_heads, value_head_dim]`.

        `query` is `[num_examples, num_heads, num_queries, head_dim]`, `key` and `value` `[num_examples, num_kv_heads,
        num_keys, …]`.
        """
        num_queries, num_keys = query.shape[2], key.shape[2]
        window = call.sliding_window if call.sliding_window is not None and call.sliding_window < num_keys else None
        if call.softcap is not None or call.sinks is not None or call.bias is not None:
            output = _explicit(call, query, key, value, self._mask(num_queries, num_keys, window))
        elif window is None and (num_queries == num_keys or num_queries * num_keys > _MAX_MASK):
            # Causality begins at the first key, so queries that nobody reads stand before those of the text.
            padded = F.pad(query, (0, 0, num_keys - num_queries, 0))
            output = _fused(padded, key, value, None, call.scaling)[:, :, num_keys - num_queries :]
        else:
            output = _fused(query, key, value, self._mask(num_queries, num_keys, window), call.scaling)
        return output.transpose(1, 2).flatten(0, 1)

    def _mask(self, num_queries: int, num_keys: int, window: int | None) -> torch.Tensor:
        """Whether a query sees a key, `[num_queries, num_keys]`: one tensor for all layers with that window."""
        kind = (num_queries, num_keys, window)
        if kind not in self._masks:
            keys = torch.arange(num_keys, device=self._device)
            self._masks[kind] = visible(keys[num_keys - num_queries :, None], keys, window)
        return self._masks[kind]


class RecordingAttention(FlatAttention):
    """The context of one forward pass over one text, which keeps the keys and values of each layer.

    It keeps the outputs too, of these `rows` `[num_rows]` of the text.
    """

    def __init__(self, num_tokens: int, device: torch.device, rows: torch.Tensor | None = None) -> None:
        super().__init__([num_tokens], 0, device)
        self._rows = rows
        self._found: dict[int, LayerKeyValues] = {}
        self.outputs: dict[int, torch.Tensor] = {}

    @property
    def recorded(self) -> list[LayerKeyValues]:
        """Keys and values of each layer, after the pass."""
        return [self._found[layer] for layer in sorted(self._found)]

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Keep keys and values, and attend."""
        self._found[call.layer] = LayerKeyValues(call.key, call.value)
        output = super().attend(call)
        if self._rows is not None:
            self.outputs[call.layer] = output[self._rows]
        return output


class ReplayingAttention(RecordingAttention):
    """The context of a pass over some tokens of a text: each layer gives them the outputs that the whole text gave."""

    def __init__(self, outputs: Mapping[int, torch.Tensor], num_tokens: int, device: torch.device) -> None:
        super().__init__(num_tokens, device)
        self._whole = outputs

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Keep keys and values, and give what was kept."""
        self._found[call.layer] = LayerKeyValues(call.key, call.value)
        return self._whole[call.layer]


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """PyTorch's own attention; without a mask it is causal from the first key on."""
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] > key.shape[1],
    )


def _explicit(
    call: AttentionCall, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention with a cap on scores, sinks or a bias. Query heads of one KV head are folded into the query axis."""
    num_examples, num_heads, num_queries, _ = query.shape
    num_kv_heads, num_keys = key.shape[1:3]
    bias = None
    if call.bias is not None:
        positions = torch.arange(num_keys - num_queries, num_keys, device=query.device)
        bias = call.bias.rows(positions, num_keys).reshape(1, num_kv_heads, -1, num_keys)
    folded = query.reshape(num_examples, num_kv_heads, num_heads // num_kv_heads * num_queries, -1)
    repeated = mask.repeat(num_heads // num_kv_heads, 1)
    return explicit_attention(folded, key, value, repeated, call, bias).reshape(
        num_examples, num_heads, num_queries, -1
    )


def _cut(lengths: Sequence[int], num_virtual: int) -> Iterator[tuple[int, list[int]]]:
    """Neighbours that attend side by side: the first row, and the length of each."""
    first, group = 0, list[int]()
    for length in lengths:
        num_scores = (len(group) + 1) * length * (num_virtual + length)
        if group and (num_scores > _MAX_GROUP or length > _LONGEST_TO_SHORTEST * group[0]):
            yield first, group
            first, group = first + sum(group), []
        group.append(length)
    yield first, group


def _group(first: int, lengths: Sequence[int], device: torch.device) -> _Group:
    num_examples, width = len(lengths), max(lengths)
    if min(lengths) == width:
        return _Group(num_examples, width, slice(first, first + num_examples * width), None)
    rows, is_real = [], []
    for length in lengths:
        rows += [*range(first, first + length), *[first] * (width - length)]
        is_real += [True] * length + [False] * (width - length)
        first += length
    return _Group(num_examples, width, torch.tensor(rows, device=device), torch.tensor(is_real, device=device))


def _rows(of: torch.Tensor, group: _Group) -> torch.Tensor:
    """The rows of a group, `[num_examples, num_heads, width, head_dim]`, from `[num_heads, num_tokens, head_dim]`."""
    rows = of[:, group.rows] if isinstance(group.rows, slice) else of.index_select(1, group.rows)
    return rows.reshape(len(rows), group.num_examples, group.width, -1).transpose(0, 1)


def _behind(virtual: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The virtual tokens' keys or values, the same for all examples, and each example's own."""
    return torch.cat([virtual.expand(own.shape[0], -1, -1, -1), own], dim=2)
