"""Replaces a model's linear layers and its embedding by weights of fewer bits, layer by layer.

A head that is tied to the embedding shares its numbers. Norms, biases and tables of positions stay float32, and so do
embeddings that are more than a look-up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from server.model.allocator import trim_heap
from server.model.cpu.int8_weight import KIND, KIND_NAMES, quantise_weight
from server.model.cpu.mapped_weights import MappedFiles
from server.model.cpu.pack_model import linear_bytes, linear_weights, pack_linears
from server.model.cpu.packing import PackedLinear, PackedWeight
from server.model.cpu.widened_weight import LANES, LANES_NAMES, to_bfloat16, to_int8
from server.model.errors import BaseModelUnavailable, UnsupportedArchitecture
from server.model.loading.progress import showing_progress

logger = logging.getLogger(__name__)


class QuantisedWeight(PackedWeight, Protocol):
    """A packed weight whose outputs can be looked up."""

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Float32 `[..., in_features]` of the outputs with these ids `[...]`."""


Quantise = Callable[[torch.Tensor], QuantisedWeight]

FORMS: dict[str, tuple[Quantise, str]] = {
    "bfloat16": (to_bfloat16, LANES_NAMES[LANES]),
    "int8-weight-only": (to_int8, LANES_NAMES[LANES]),
    "int8": (quantise_weight, KIND_NAMES[KIND]),
}
"""How `--weights` makes each form of a weight `[out_features, in_features]`, and by what it is multiplied."""


class QuantisedEmbedding(torch.nn.Module):
    """The rows of a token embedding, widened at each look-up."""

    def __init__(self, packed: QuantisedWeight) -> None:
        super().__init__()
        self.packed = packed
        self.num_embeddings, self.embedding_dim = packed.shape

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantisedEmbedding:
        """Share the numbers: they are never written."""
        memo[id(self)] = copied = QuantisedEmbedding(self.packed).train(self.training)
        return copied

    @property
    def weight(self) -> torch.Tensor:
        """Float32 `[num_embeddings, embedding_dim]`, made at each access."""
        return self.packed.dense()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Ids `[...]` to float32 `[..., embedding_dim]`."""
        return self.packed.rows(ids)


def check_can_quantise(form: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `BaseModelUnavailable` where weights of this form cannot be served."""
    if device.type != "cpu":
        raise BaseModelUnavailable(f"--weights {form} is for a CPU, and the device is {device}: add --device cpu")
    if dtype != torch.float32:
        raise BaseModelUnavailable(f"--weights {form} computes everything else in float32: leave --dtype out")


def quantise_model(model: PreTrainedModel, form: str) -> None:
    """Quantise a frozen float32 model on a CPU, in place, to one of `FORMS`.

    Raises `UnsupportedArchitecture` for a model with matrices of another kind, which would stay as they are.
    """
    _check_kinds(model, form)
    quantise, multiplied_by = FORMS[form]
    embedding: Any = model.get_input_embeddings()
    head: Any = _head(model)
    is_tied = head is not None and head.weight is embedding.weight
    with showing_progress("quantising weights", linear_bytes(model)) as progress:
        num_layers = pack_linears(model, progress, partial(_pack, quantise)).num_layers
    is_plain = type(embedding) is torch.nn.Embedding
    if is_plain:
        head = _head(model)
        is_shared = is_tied and isinstance(head, PackedLinear)
        _replace(model, embedding, head.packed if is_shared else quantise(embedding.weight.detach()))
        MappedFiles().drop(embedding.weight.detach())
        del embedding
        trim_heap()
    names = " and the embedding" if is_plain else "; the embedding stays float32"
    logger.info("%s weights in %d linear layers%s; products by %s", form, num_layers, names, multiplied_by)


def _head(model: PreTrainedModel) -> Any:
    return model.get_output_embeddings()  # type: ignore[no-untyped-call]


def _replace(model: PreTrainedModel, embedding: torch.nn.Embedding, packed: QuantisedWeight) -> None:
    """Put the quantised embedding wherever its weight is looked up: an encoder and a decoder may share it."""
    quantised = QuantisedEmbedding(packed).train(False)
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if type(module) is torch.nn.Embedding and module.weight is embedding.weight:
            model.set_submodule(name, quantised)


def _pack(quantise: Quantise, weight: torch.Tensor, bias: torch.Tensor | None, _: bool) -> PackedLinear:
    return PackedLinear(quantise(weight), bias).train(False)


def _check_kinds(model: PreTrainedModel, form: str) -> None:
    """Refuse weights that belong to no linear layer and no look-up: routed experts, convolutions."""
    linears = {weight.data_ptr() for weight in linear_weights(model)}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            is_looked_up = isinstance(module, torch.nn.Embedding)
            if parameter.dim() > 1 and not is_looked_up and parameter.data_ptr() not in linears:
                raise UnsupportedArchitecture(
                    f"{model.config.model_type} models cannot be served with --weights {form}: {name} is no weight of "
                    "a linear layer"
                )
