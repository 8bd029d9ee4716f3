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


def make_twin(model: PreTrainedModel, attention: str = "eager") -> PreTrainedModel:
    """Build `model`'s architecture on the meta device, assign the same parameters and copy the buffers.

    Layers that were replaced are replaced in the twin too, over the same tensors.
    """
    config = copy.deepcopy(model.config)
    build: Callable[..., PreTrainedModel] = type(model)._from_config
    with torch.device("meta"):
        twin = build(config, attn_implementation=attention, dtype=model.dtype)
    twin.generation_config = copy.deepcopy(model.generation_config)
    memo: dict[int, Any] = {}
    for name, source in model.named_modules(remove_duplicate=False):
        if isinstance(source, (PackedLinear, JointLinear)):
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
