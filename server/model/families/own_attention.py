"""The forward pass that takes the place of an attention module's own, over the step's context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedConfig

from server.model.attention import ATTENTION_NAME, AttentionCall, current_context
from server.model.attention_bias import AttentionBias


class OwnAttention(ABC):
    """The forward pass of one attention module of `replaces`: `module.forward` is set to it.

    The module keeps its parameters and its place in the tree. `layer` counts attention layers; `bias` is shared by all.
    """

    replaces: ClassVar[type[torch.nn.Module]]
    implementation: ClassVar[str] = ATTENTION_NAME
    """The name that the model's configuration gets; it decides which masks transformers builds."""
    stock: ClassVar[str] = "eager"
    """The implementation of transformers that is compared with."""

    def __init__(self, module: Any, layer: int, bias: AttentionBias | None) -> None:
        self.module = module
        self.layer = layer
        self.bias = bias

    @classmethod
    def make_bias(cls, config: PreTrainedConfig, num_positions: int, device: torch.device) -> AttentionBias | None:
        """What the architecture adds to scores, for sequences of at most `num_positions`; None for nothing."""
        return None

    @classmethod
    def default_context(cls, config: PreTrainedConfig) -> int | None:
        """The longest context of a configuration without `max_position_embeddings`; None if nothing tells it."""
        return None

    def on(self, module: torch.nn.Module) -> Self:
        """The same forward pass for the module's twin."""
        return type(self)(module, self.layer, self.bias)

    @abstractmethod
    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """`hidden_states` `[1, num_tokens, hidden_size]` to the same shape, in what the module's own forward returns.

        Attention weights are None there.
        """

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        sliding_window: int | None = None,
    ) -> torch.Tensor:
        """Attend from `[num_tokens, num_heads, head_dim]`: `[1, num_tokens, num_heads * head_dim]`."""
        call = AttentionCall(
            layer=self.layer,
            query=query.transpose(0, 1),
            key=key.transpose(0, 1),
            value=value.transpose(0, 1),
            scaling=scaling,
            sliding_window=sliding_window,
            softcap=None,
            sinks=None,
            bias=self.bias,
        )
        return current_context().attend(call).flatten(1)[None]
