"""The twin: a second module tree over the same parameters, with transformers' stock attention and masks.

It costs no weight memory. Code that wraps, hooks or trains a model takes the twin; the serving tree stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from server.model.cpu.packing import JointLinear, PackedLinear
from server.model.cpu.quantise_model import QuantisedEmbedding
from server.model.families.registry import stock_attention


def make_twin(model: PreTrainedModel, *, sliding_window: int | None = None) -> PreTrainedModel:
    """Build `model`'s architecture on the meta device, assign the same parameters and copy the buffers.

    Layers that were replaced are replaced in the twin too, over the same tensors. Attention is stock. `sliding_window`
    replaces the configured one.
    """
    config = copy.deepcopy(model.config)
    if sliding_window is not None:
        config.get_text_config().sliding_window = sliding_window
    build: Callable[..., PreTrainedModel] = type(model)._from_config
    with torch.device("meta"):
        twin = build(config, attn_implementation=stock_attention(config), dtype=model.dtype)
    if model.can_generate():
        twin.generation_config = copy.deepcopy(model.generation_config)
    for name, _ in list(twin.named_children()):
        if getattr(model, name) is None:  # a part that the weights lack
            setattr(twin, name, None)
    memo: dict[int, Any] = {}
    for name, source in model.named_modules(remove_duplicate=False):
        if isinstance(source, (PackedLinear, JointLinear, QuantisedEmbedding)):
            twin.set_submodule(name, copy.deepcopy(source, memo))
        else:
            _share(source, twin.get_submodule(name))
    twin.train(False)
    return twin


def _share(source: torch.nn.Module, target: torch.nn.Module) -> None:
    for name, parameter in source._parameters.items():
        target._parameters[name] = parameter
    for name, buffer in source._buffers.items():
        target._buffers[name] = None if buffer is None else buffer.clone()
    for name, value in vars(source).items():  # rotary embeddings keep tensors as plain attributes
        if isinstance(value, torch.Tensor):
            setattr(target, name, value.clone())
