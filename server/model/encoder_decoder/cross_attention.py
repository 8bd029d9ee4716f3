"""Cross-attention over blocks: keys and values of new encoder outputs are stored, then every row reads its own."""

from __future__ import annotations

from typing import Any

import torch

from server.model.attention import AttentionCall
from server.model.encoder_decoder.stack_pass import current_pass


class CrossAttention:
    """In place of the forward pass of a decoder layer's cross-attention module, which keeps its parameters.

    Keys and values are projected for the encoder outputs of the step's new requests alone: `[1, 0, hidden_size]` in
    most steps.
    """

    def __init__(self, module: Any, *, returns_bias: bool) -> None:
        names = ("q", "k", "v", "o") if hasattr(module, "q") else ("q_proj", "k_proj", "v_proj", "out_proj")
        self._module = module
        self._names = names
        self._num_heads = int(module.n_heads if hasattr(module, "n_heads") else module.num_heads)
        self._returns_bias = returns_bias

    def __call__(
        self,
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        **_: Any,
    ) -> tuple[Any, ...]:
        """`[1, num_rows, hidden_size]` to the same shape; attention weights, and T5's bias, are None."""
        encoded = encoder_hidden_states if key_value_states is None else key_value_states
        assert encoded is not None
        to_query, to_key, to_value, to_output = (getattr(self._module, name) for name in self._names)
        query = self._heads(to_query, hidden_states)
        is_new = encoded.shape[1] > 0
        call = AttentionCall(
            layer=self._module.layer_idx,
            query=query,
            key=self._heads(to_key, encoded) if is_new else query[:, :0],
            value=self._heads(to_value, encoded) if is_new else query[:, :0],
            scaling=float(self._module.scaling),
            sliding_window=None,
            softcap=None,
            sinks=None,
        )
        cross = current_pass().cross
        assert cross is not None
        attended = to_output(cross.attend(call).flatten(1)[None])
        return (attended, None, None) if self._returns_bias else (attended, None)

    def _heads(self, projection: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """`[num_heads, num_rows, head_dim]`."""
        heads: torch.Tensor = projection(rows)[0].unflatten(-1, (self._num_heads, -1)).transpose(0, 1)
        return heads
