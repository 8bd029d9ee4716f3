"""Puts the replacements into a model of an encoder and a decoder. Its parameters and its tree stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from server.model.cpu.packing import PackedLinear
from server.model.encoder_decoder.cross_attention import CrossAttention
from server.model.encoder_decoder.families import FAMILIES
from server.model.encoder_decoder.feed_forward import FeedForward
from server.model.encoder_decoder.relative_bias import TableBias
from server.model.encoder_decoder.row_positions import RowPositions
from server.model.encoder_decoder.stack_pass import select_logits_rows


def install(model: Any) -> None:
    """Make a model, or the twin of one, compute flat batches.

    Relative biases become tables of the weights that it has now. Repeating it is harmless.
    """
    family = FAMILIES[model.config.model_type]
    encoder, decoder = model.get_encoder(), model.get_decoder()
    for layer, module in enumerate(_attention_modules(encoder)):
        module.layer_idx = layer  # some encoders count their layers, some do not
    for module in _attention_modules(decoder):
        if not module.is_causal:
            module.forward = CrossAttention(module, returns_bias=family.cross_returns_bias)
    for module in model.modules():
        if getattr(module, "has_relative_attention_bias", False):
            module.compute_bias = TableBias(module)
        if isinstance(getattr(module, "wo", None), PackedLinear):
            module.forward = FeedForward(module)
    for stack in (encoder, decoder):
        if (positions := getattr(stack, "embed_positions", None)) is not None:
            positions.forward = RowPositions(positions)
    head = model.get_output_embeddings()
    if select_logits_rows not in head._forward_pre_hooks.values():
        head.register_forward_pre_hook(select_logits_rows)


def _attention_modules(stack: torch.nn.Module) -> Iterator[Any]:
    return (module for module in stack.modules() if "layer_idx" in vars(module) and hasattr(module, "is_causal"))
