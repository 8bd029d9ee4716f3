"""Attention of encoders: each sequence of a ragged batch sees all of itself, and nothing else.

The function is registered under `ENCODER_ATTENTION` with transformers' `AttentionInterface` and, on purpose, not with
`AttentionMaskInterface`: the model then builds no mask, and the borders of sequences are ours. `encoding` binds the
batch around a forward call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from server.model.encoder.batch import Group
from server.model.errors import UnsupportedArchitecture

ENCODER_ATTENTION = "softprompt-encoder"

ScoreTerm = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What is added to the scaled scores: of query and key `[num_sequences, num_heads, num_rows, head_dim]`,
`[num_sequences, num_heads, num_rows, num_rows]`."""


@dataclass(frozen=True, slots=True, eq=False)
class EncoderCall:
    """One layer's attention over the ragged batch.

    `query` is `[num_heads, num_rows, head_dim]`, `key` and `value` `[num_kv_heads, num_rows, head_dim]`.
    `sliding_window` w lets a row see those less than w away. A layer with a `term` has neither a window nor keys and
    values before its rows.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scaling: float
    sliding_window: int | None = None
    term: ScoreTerm | None = None


class EncoderContext(Protocol):
    """The context of a forward call. Layers call it in their order."""

    def attend(self, call: EncoderCall) -> torch.Tensor:
        """Return `[num_rows, num_heads, head_dim]`."""


_current: ContextVar[EncoderContext] = ContextVar("encoder_context")


@contextmanager
def encoding(context: EncoderContext) -> Iterator[None]:
    """Bind the context that attention uses in forward calls of this thread."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def attend(call: EncoderCall) -> torch.Tensor:
    """Attend in the bound context. Raises `UnsupportedArchitecture` where none is bound."""
    try:
        context = _current.get()
    except LookupError:
        raise UnsupportedArchitecture("no attention context is bound around this forward call") from None
    return context.attend(call)


def encoder_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Hand a layer's attention to the bound context (transformers' attention-function contract).

    `query` is `[1, num_heads, num_rows, head_dim]`; returns `[1, num_rows, num_heads, head_dim]`.
    Raises `UnsupportedArchitecture` if the model wants a mask of its own, or scores of another kind.
    """
    if attention_mask is not None or any(
        others.get(name) is not None for name in ("softcap", "s_aux", "position_bias")
    ):
        raise UnsupportedArchitecture("the architecture adds a mask or bias of its own to attention scores")
    if getattr(module, "is_causal", False):
        raise UnsupportedArchitecture("the architecture hides what follows: it is no encoder")
    scaling = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return attend(EncoderCall(query[0], key[0], value[0], scaling, sliding_window))[None], None


def register_encoder_attention() -> None:
    """Make `ENCODER_ATTENTION` known to transformers. Repeating it is harmless."""
    AttentionInterface.register(ENCODER_ATTENTION, encoder_attention)


class RaggedAttention:
    """The context of one batch: one `scaled_dot_product_attention` for each group of sequences with equal sizes.

    Rows behind the last group (`cpu.packing.padded_rows`) get zeros.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._layer = -1
        self._windows: dict[tuple[int, int, int], torch.Tensor] = {}

    def attend(self, call: EncoderCall) -> torch.Tensor:
        """See `EncoderContext`."""
        self._layer += 1
        num_heads, num_rows, _ = call.query.shape
        if len(self._groups) == 1 and self._groups[0].last == num_rows:
            return self._attend(call, self._groups[0])
        output = call.query.new_empty(num_rows, num_heads, call.value.shape[-1])
        output[self._groups[-1].last :] = 0
        for group in self._groups:
            output[group.first : group.last] = self._attend(call, group)
        return output

    def _attend(self, call: EncoderCall, group: Group) -> torch.Tensor:
        """Attend from one group: `[num_sequences * num_rows, num_heads, head_dim]`."""
        query, key, value = (_sequences(part, group) for part in (call.query, call.key, call.value))
        mask = None
        if call.term is not None:
            if group.key_values:
                raise UnsupportedArchitecture("the architecture takes no keys and values before its rows")
            mask = call.term(query, key)
        if group.key_values:
            layers = torch.stack([tensor[2 * self._layer : 2 * self._layer + 2] for tensor in group.key_values], dim=1)
            key, value = torch.cat([layers[0], key], dim=2), torch.cat([layers[1], value], dim=2)
        if call.sliding_window is not None:
            mask = self._window(group, call.sliding_window, query.device)
        is_grouped = key.shape[1] != query.shape[1]
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=call.scaling, enable_gqa=is_grouped
        )
        return attended.transpose(1, 2).flatten(0, 1)

    def _window(self, group: Group, window: int, device: torch.device) -> torch.Tensor:
        """Whether a row `[num_rows, 1]` sees a position `[num_key_values + num_rows]`."""
        size = (group.num_key_values, group.num_rows, window)
        if size not in self._windows:
            keys = torch.arange(group.num_key_values + group.num_rows, device=device)
            self._windows[size] = (keys[group.num_key_values :, None] - keys).abs() < window
        return self._windows[size]


def _sequences(part: torch.Tensor, group: Group) -> torch.Tensor:
    """A group's rows of `[num_heads, num_rows, dim]` as a view `[num_sequences, num_heads, num_rows, dim]`."""
    rows = part[:, group.first : group.last]
    return rows.view(len(rows), group.num_sequences, group.num_rows, -1).transpose(0, 1)
