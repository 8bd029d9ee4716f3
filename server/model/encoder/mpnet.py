"""MPNet: attention scores with a bias of relative position, which all layers share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers.models.mpnet import modeling_mpnet as mpnet

from server.model.encoder.attention import EncoderCall, attend
from server.model.encoder.length_tables import LengthTables


class MPNetAttention:
    """In place of `MPNetSelfAttention.forward`. The module keeps its parameters and its place in the tree.

    `biases` are `[1, num_heads, num_rows, num_rows]`.
    """

    def __init__(self, module: Any, biases: LengthTables) -> None:
        self._module = module
        self._biases = biases

    def __call__(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        """`[1, num_rows, hidden_size]` to the same shape."""
        module = self._module
        query, key, value = (
            layer(hidden_states)[0].view(hidden_states.shape[1], module.num_attention_heads, -1).transpose(0, 1)
            for layer in (module.q, module.k, module.v)
        )
        call = EncoderCall(query, key, value, module.attention_head_size**-0.5, term=self._term)
        return (module.o(attend(call).flatten(1)[None]),)

    def _term(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return self._biases.of(query)


def install(model: Any) -> None:
    """Replace the attention of every layer."""
    encoder = model.encoder
    biases = LengthTables(partial(_bias, encoder))
    for layer in encoder.layer:
        layer.attention.attn.forward = MPNetAttention(layer.attention.attn, biases)
    encoder.compute_position_bias = _nothing  # it would be as large as the square of the batch


def _bias(encoder: Any, rows: torch.Tensor) -> torch.Tensor:
    compute: Callable[[Any, torch.Tensor], torch.Tensor] = mpnet.MPNetEncoder.compute_position_bias
    return compute(encoder, rows[:1, 0])


def _nothing(*_: Any, **__: Any) -> None:
    return None
