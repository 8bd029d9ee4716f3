"""The keys and values of a prefix, computed by the model's own forward pass, for engines other than ours."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from server.model.errors import UnsupportedArchitecture
from server.model.prefix import Prefix, PrefixKind
from server.model.twin import make_twin

KeyValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Key and value of each layer, `[num_virtual_tokens, num_kv_heads, head_dim]`. Keys are rotated."""


def key_values_of(model: PreTrainedModel, prefix: Prefix) -> KeyValues:
    """Return the keys and values of a prefix: computed from embeddings in the model's dtype, or as they are.

    Raises UnsupportedArchitecture where the model keeps them in another form.
    """
    if prefix.kind is PrefixKind.KEY_VALUES:
        layers = prefix.tensor.unbind(1)
        return list(zip(layers[::2], layers[1::2], strict=True))
    twin = make_twin(model)  # stock attention, whose cache has one entry per position
    cache = DynamicCache()  # without a configuration it also keeps what a sliding window has left behind
    rows = prefix.tensor.to(model.device, model.dtype)
    with torch.inference_mode():
        twin(inputs_embeds=rows[None], past_key_values=cache, use_cache=True)
    pairs = [(_of_one_sequence(layer, "keys"), _of_one_sequence(layer, "values")) for layer in cache.layers]
    if not pairs or any(len(tensor) != prefix.num_virtual_tokens for pair in pairs for tensor in pair):
        raise UnsupportedArchitecture(f"{model.config.model_type} models do not keep keys and values of each position")
    return pairs


def _of_one_sequence(layer: Any, name: str) -> torch.Tensor:
    """`[1, num_kv_heads, num_positions, head_dim]` as `[num_positions, num_kv_heads, head_dim]`; empty for none."""
    tensor = getattr(layer, name, None)
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 4:
        return torch.empty(0)
    return tensor[0].transpose(0, 1)
