"""transformers' classification model over the weights of a served base model, with a new head.

The backbone is that of a twin. The head is made as transformers makes it, from a seed; parameters that the base model
holds under the same name and of the same shape are taken from there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from server.model.families.registry import stock_attention
from server.model.heads.heads import Heads
from server.tuning.errors import TuningUnsupported

_TRAINED = ("classifier", "score")
"""The ends of the names of modules that PEFT trains with SEQ_CLS, and saves."""


def is_trained(parameter: str) -> bool:
    """Whether PEFT trains a parameter of a classification model with SEQ_CLS: by the ends of its modules' names."""
    modules, _, _ = parameter.rpartition(".")
    return any(module.endswith(_TRAINED) for module in modules.split("."))


def make_head_twin(twin: PreTrainedModel, num_labels: int, seed: int, heads: Heads | None = None) -> PreTrainedModel:
    """Build the classification model of a twin's architecture over the backbone of the twin.

    Parameters of the head that the base model's files hold come from `heads`; None stands for files without any. The
    head is in float32, and what it reads is converted. Raises `TuningUnsupported` for an architecture without such
    a class, and for a head of which a part would be neither trained nor loaded.
    """
    config = copy.deepcopy(twin.config)
    config.num_labels = num_labels
    kind: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise TuningUnsupported(f"transformers has no class for SEQ_CLS over {config.model_type} models")
    build: Callable[..., PreTrainedModel] = kind._from_config
    with torch.device("meta"):
        model = build(config, attn_implementation=stock_attention(config), dtype=torch.float32)
    prefix = model.base_model_prefix
    backbone, own = twin.base_model, getattr(model, prefix)
    _take_parts(backbone, own, type(model).__name__)
    setattr(model, prefix, backbone)
    held = dict(twin.named_parameters())

    def read(name: str) -> torch.Tensor | None:
        found = held.get(name)
        return heads.held(name, prefix) if found is None and heads is not None else found

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in model.named_children():
            if name != prefix:
                _fill(model, name, module, read, twin.device)
    _refuse_unfilled(model)
    model.requires_grad_(False).train(False)
    return model


def _take_parts(backbone: torch.nn.Module, own: torch.nn.Module, name: str) -> None:
    """Drop the parts of the backbone that the classification model is built without, such as a pooler.

    Raises `TuningUnsupported` for a part that it is built with and the base model does not hold.
    """
    for part, _ in list(backbone.named_children()):
        if getattr(own, part, None) is None:
            setattr(backbone, part, None)
    for part, _ in own.named_children():
        if getattr(backbone, part, None) is None:
            raise _untrained(name, part)


def _fill(
    model: PreTrainedModel,
    name: str,
    module: torch.nn.Module,
    read: Callable[[str], torch.Tensor | None],
    device: torch.device,
) -> None:
    """Give a module of the head its parameters: those of the base model, or for a trained one new values."""
    of_base = {key: read(f"{name}.{key}") for key, _ in module.named_parameters()}
    shapes = {key: parameter.shape for key, parameter in module.named_parameters()}
    found = {key: one for key, one in of_base.items() if one is not None and one.shape == shapes[key]}
    if len(found) < len(shapes) and not name.endswith(_TRAINED):
        return
    module.to_empty(device=device)
    module.apply(model._init_weights)
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if key in found:
                parameter.copy_(found[key])
    for part in _with_parameters(module):
        part.register_forward_pre_hook(_in_float32)


def _with_parameters(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    return (part for part in module.modules() if any(True for _ in part.parameters(recurse=False)))


def _in_float32(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.float() if isinstance(one, torch.Tensor) and one.is_floating_point() else one for one in inputs)


def _refuse_unfilled(model: PreTrainedModel) -> None:
    """Raise `TuningUnsupported` for parameters that neither the base model holds nor PEFT saves."""
    unfilled = sorted(name for name, parameter in model.named_parameters() if parameter.is_meta)
    if unfilled:
        raise _untrained(type(model).__name__, unfilled[0])


def _untrained(name: str, part: str) -> TuningUnsupported:
    return TuningUnsupported(
        f"{name} has {part}, which the base model does not hold, and which PEFT neither trains nor saves with SEQ_CLS: "
        "choose a base model that holds it"
    )
