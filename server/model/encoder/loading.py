"""Loads the frozen encoder as transformers builds it, with our attention."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from server.model.architecture import Architecture
from server.model.base_model import (
    BaseModelOptions,
    LoadedModel,
    check_report,
    choose_device,
    choose_dtype,
    load_config,
)
from server.model.cpu.fused_parts import fuse_parts
from server.model.cpu.pack_model import linear_bytes, pack_linears
from server.model.cpu.quantise_model import check_can_quantise, quantise_model
from server.model.encoder.architecture import read_encoder_architecture
from server.model.encoder.attention import register_encoder_attention
from server.model.encoder.installed import built_with, install
from server.model.errors import BaseModelUnavailable, UnsupportedArchitecture
from server.model.foreign import foreign_errors
from server.model.loading.pretrained import load_pretrained
from server.model.loading.progress import showing_progress

logger = logging.getLogger(__name__)

_POOLER = "pooler."


def load_encoder(options: BaseModelOptions) -> LoadedModel:
    """Load weights and freeze them. A pooler that the files do not hold is left out: no hidden state depends on it.

    Raises `BaseModelUnavailable` where there is no such model and `UnsupportedArchitecture` where it cannot be served.
    """
    config = load_config(options)
    skeleton = build_encoder(copy.deepcopy(config))
    architecture = _probe(skeleton, options)  # fail before the weights are read
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, config, device)
    form = None if options.weights == "auto" else options.weights
    if form is not None:
        check_can_quantise(form, device, dtype)
    with foreign_errors(BaseModelUnavailable, f"the weights of {options.source!r} cannot be loaded"):
        model, report = load_pretrained(
            skeleton, options.source, options.revision, config, dtype=dtype, attention=built_with(config)
        )
    missing = set(map(str, report.get("missing_keys") or ()))
    if missing and all(name.startswith(_POOLER) for name in missing):
        setattr(model, "pooler", None)  # noqa: B010  (a submodule may be None, which its type does not say)
        missing = set()
    check_report(options, {**report, "missing_keys": missing})
    model.requires_grad_(False).train(False)
    torch.nn.Module.to(model, device)
    install(model)
    if form is not None:
        quantise_model(model, form)
        fuse_parts(model)
    else:
        _pack(model)
    return LoadedModel(model, architecture, dtype, device, frozenset(), quantised_to=form)


def _pack(model: PreTrainedModel) -> None:
    with showing_progress("packing weights", linear_bytes(model)) as progress:
        packing = pack_linears(model, progress)
    if packing.num_layers:
        num_fused = fuse_parts(model)
        logger.info("%d linear layers packed for this CPU, %d parts fused", packing.num_layers, num_fused)


def load_encoder_skeleton(options: BaseModelOptions) -> Architecture:
    """Read the architecture without weights, on the meta device. Raises as `load_encoder` does."""
    return _probe(build_encoder(load_config(options)), options)


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """The encoder on the meta device. Raises `UnsupportedArchitecture` where transformers cannot build it for us."""
    register_encoder_attention()
    build: Callable[..., Any] = AutoModel.from_config
    broken = f"{config.model_type} models cannot be served: transformers cannot build one around our attention"
    with foreign_errors(UnsupportedArchitecture, broken), torch.device("meta"):
        model: PreTrainedModel = build(config, attn_implementation=built_with(config), trust_remote_code=False)
    model.train(False)
    return model


def _probe(model: PreTrainedModel, options: BaseModelOptions) -> Architecture:
    try:
        install(model)
        return read_encoder_architecture(model, options.max_context)
    except UnsupportedArchitecture as error:
        raise UnsupportedArchitecture(f"{model.config.model_type} models cannot be served: {error}") from error
