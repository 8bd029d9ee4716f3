"""The one attention function that transformers calls, and the contract of the context that computes it.

Registered under `ATTENTION_NAME` with transformers' `AttentionInterface` and, on purpose, not with
`AttentionMaskInterface`: the model then builds no mask, and causality, windows and sequence borders are ours.
The forward call carries the step's context in the keyword `paged`, which the models hand down to attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AttentionInterface

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
    """

    layer: int
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scaling: float
    sliding_window: int | None
    softcap: float | None
    sinks: torch.Tensor | None


class AttentionContext(Protocol):
    """The context that a forward call carries: stores new keys and values, and attends over each sequence."""

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Return `[num_tokens, num_heads, value_head_dim]`."""


class AttentionBackend(Protocol):
    """Makes the context of a step. All backends give the answers of `PagedAttention`, to rounding."""

    def __call__(self, kv_cache: KVCache, batch: FlatBatch) -> AttentionContext:
        """The context that stores this batch's keys and values and attends over the cache."""


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
    position_bias: torch.Tensor | None = None,
    paged: AttentionContext | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Hand a layer's attention to the step's context (transformers' attention-function contract).

    `query` is `[1, num_heads, num_tokens, head_dim]`; returns `[1, num_tokens, num_heads, head_dim]`.
    Raises `UnsupportedArchitecture` if the context does not arrive, or the model wants a mask or bias of its own.
    """
    if paged is None:
        raise UnsupportedArchitecture("the architecture does not hand keywords down to its attention function")
    if attention_mask is not None or position_bias is not None:
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
    )
    return paged.attend(call).unsqueeze(0), None


def register_attention() -> None:
    """Make `ATTENTION_NAME` known to transformers. Repeating it is harmless."""
    AttentionInterface.register(ATTENTION_NAME, attention_forward)
