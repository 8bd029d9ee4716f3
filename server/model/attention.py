"""The one attention function that transformers calls, and the contract of the context that computes it.

Registered under `ATTENTION_NAME` with transformers' `AttentionInterface` and, on purpose, not with
`AttentionMaskInterface`: the model then builds no mask, and causality, windows and sequence borders are ours.
`attending` binds the step's context around a forward call. Models need not hand anything down to attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AttentionInterface

from server.model.attention_bias import AttentionBias
from server.model.errors import UnsupportedArchitecture
from server.model.flat_batch import FlatBatch
from server.model.kv_cache import KVCache

ATTENTION_NAME = "softprompt"


@dataclass(frozen=True, slots=True, eq=False)
class AttentionCall:
    """One layer's attention over the flat batch.

    `query` is `[num_heads, num_tokens, head_dim]`, `key` and `value` `[num_kv_heads, num_tokens, head_dim]` (rotated
    where the model rotates). `sliding_window` w lets position q see positions above q - w. `softcap` c squashes scores
    as `c * tanh(score / c)`. `sinks` `[num_heads]` are extra logits in the softmax that take weight but add no value.
    `bias` is added to scores after scaling; no layer has it together with `softcap`.
    """

    layer: int
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scaling: float
    sliding_window: int | None
    softcap: float | None
    sinks: torch.Tensor | None
    bias: AttentionBias | None = None


class AttentionContext(Protocol):
    """The context of a forward call: stores new keys and values, and attends over each sequence."""

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Return `[num_tokens, num_heads, value_head_dim]`."""


class AttentionBackend(Protocol):
    """Makes the context of a step. All backends give the answers of `PagedAttention`, to rounding."""

    def __call__(self, kv_cache: KVCache, batch: FlatBatch) -> AttentionContext:
        """The context that stores this batch's keys and values and attends over the cache."""


_current: ContextVar[AttentionContext] = ContextVar("attention_context")


@contextmanager
def attending(context: AttentionContext) -> Iterator[None]:
    """Bind the context that attention uses in forward calls of this thread."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def current_context() -> AttentionContext:
    """The bound context. Raises `UnsupportedArchitecture` where none is bound."""
    try:
        return _current.get()
    except LookupError:
        raise UnsupportedArchitecture("no attention context is bound around this forward call") from None


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | AttentionBias | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Hand a layer's attention to the step's context (transformers' attention-function contract).

    `query` is `[1, num_heads, num_tokens, head_dim]`; returns `[1, num_tokens, num_heads, head_dim]`.
    `position_bias` is a table that took the place of the model's own bias (`encoder_decoder.relative_bias`).
    Raises `UnsupportedArchitecture` if no context is bound, or the model wants a mask or bias of its own.
    """
    if attention_mask is not None or isinstance(position_bias, torch.Tensor):
        raise UnsupportedArchitecture("the architecture adds a mask or bias of its own to attention scores")
    layer = getattr(module, "layer_idx", None)
    if layer is None:
        raise UnsupportedArchitecture("the architecture's attention modules carry no layer index")
    call = AttentionCall(
        layer=layer,
        query=query[0],
        key=key[0],
        value=value[0],
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        sliding_window=sliding_window,
        softcap=softcap,
        sinks=s_aux,
        bias=position_bias,
    )
    return current_context().attend(call).unsqueeze(0), None


def register_attention() -> None:
    """Make `ATTENTION_NAME` known to transformers. Repeating it is harmless."""
    AttentionInterface.register(ATTENTION_NAME, attention_forward)
