"""Loads the frozen base model as transformers builds it, with our attention function."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from server.model.architecture import Architecture, check_model_type, read_architecture
from server.model.attention import register_attention
from server.model.cpu.fused_layer import fuse_layers
from server.model.cpu.int8_weight import INT8_EPSILON
from server.model.cpu.pack_model import linear_bytes, pack_linears
from server.model.cpu.quantise_model import check_can_quantise, quantise_model
from server.model.encoder_decoder.decoding import Decoding, read_decoding
from server.model.encoder_decoder.families import is_encoder_decoder
from server.model.errors import BaseModelUnavailable, UnsupportedArchitecture
from server.model.families.registry import built_with
from server.model.foreign import foreign_errors
from server.model.gguf.base_file import (
    check_all_is_read,
    complete_config,
    is_gguf,
    read_base_file,
    transformers_source,
)
from server.model.loading.pretrained import load_pretrained
from server.model.loading.progress import showing_progress
from server.model.loading.quantization import check_quantization
from server.model.loading.source import check_source
from server.model.model_files import read_config

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class BaseModelOptions:
    """The base model to load. `source` is a hub id, a folder or a GGUF file; `dtype` and `device` may be "auto".

    `weights` is "auto" for those of `dtype`, or one of `quantise_model.FORMS`.
    """

    source: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_context: int | None = None
    weights: str = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """The frozen model in evaluation mode, on its device, and the facts that the engine needs of it.

    `eos_token_ids` end a generation, from the model's generation configuration. `decoding` is for an encoder-decoder:
    how its outputs begin and end. `quantised_to` is the form of the weights, where `dtype` is that of
    all else only.
    """

    model: PreTrainedModel
    architecture: Architecture
    dtype: torch.dtype
    device: torch.device
    eos_token_ids: frozenset[int]
    decoding: Decoding | None = None
    quantised_to: str | None = None

    @property
    def weights(self) -> str:
        """The form of the weights, by its public name."""
        return self.quantised_to or dtype_name(self.dtype)

    @property
    def rounding_epsilon(self) -> float | None:
        """The relative step of rows that are rounded to fewer bits than float32; None where none are."""
        if self.quantised_to == "int8":
            return INT8_EPSILON
        return None if self.dtype == torch.float32 else torch.finfo(self.dtype).eps


def load_base_model(options: BaseModelOptions) -> LoadedModel:
    """Load weights and freeze them.

    Raises `BaseModelUnavailable` where there is no such model and `UnsupportedArchitecture` where it cannot be served.
    """
    config = load_config(options)
    skeleton = _build_on_meta(copy.deepcopy(config))
    _check_whole(options, skeleton)  # fail before the weights are read
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, config, device)
    form = None if options.weights == "auto" else options.weights
    if form is not None:
        check_can_quantise(form, device, dtype)
    with foreign_errors(BaseModelUnavailable, f"the weights of {options.source!r} cannot be loaded"):
        model, report = load_pretrained(
            skeleton, options.source, options.revision, config, dtype=dtype, attention=built_with(config)
        )
        check_report(options, report)
        model.requires_grad_(False).train(False)
        torch.nn.Module.to(model, device)
    with foreign_errors(UnsupportedArchitecture, f"{config.model_type} models cannot be served"):
        if form is not None:
            quantise_model(model, form)
            fuse_layers(model)
        else:
            _pack(model)
        architecture = read_architecture(model, options.max_context)
        decoding = None if architecture.max_encoder_positions is None else read_decoding(model.generation_config)
        eos_token_ids = eos_token_ids_of(model.generation_config, config)
        return LoadedModel(model, architecture, dtype, device, eos_token_ids, decoding, form)


def _auto_class(config: PreTrainedConfig) -> Any:
    return AutoModelForSeq2SeqLM if is_encoder_decoder(config) else AutoModelForCausalLM


def _pack(model: PreTrainedModel) -> None:
    with showing_progress("packing weights", linear_bytes(model)) as progress:
        packing = pack_linears(model, progress)
    if packing.num_layers:
        logger.info(
            "%d linear layers packed for this CPU, %d decoder layers fused; weights kept twice because they are "
            "embeddings too: %.1f MiB",
            packing.num_layers,
            fuse_layers(model),
            packing.num_bytes_twice / 2**20,
        )


def check_report(options: BaseModelOptions, report: Mapping[str, Any]) -> None:
    """Refuse missing weights: transformers fills them with random numbers, and nothing else would show it."""
    weights = f"the weights of {options.source!r}"
    if missing := sorted(map(str, report.get("missing_keys") or ())):
        raise BaseModelUnavailable(
            f"{weights} lack {_tensors(len(missing))} of the configured model, {missing[0]} among them"
        )
    if mismatched := sorted(report.get("mismatched_keys") or ()):
        name, stored, configured = mismatched[0]
        raise BaseModelUnavailable(
            f"{weights} hold {_tensors(len(mismatched))} in another shape than the configured model's, {name} "
            f"({list(stored)}, not {list(configured)}) among them: config.json is of another model"
        )


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"


def load_skeleton(options: BaseModelOptions) -> Architecture:
    """Read the architecture without weights, on the meta device. Raises as `load_base_model` does."""
    config = load_config(options)
    _forget_dynamic_rope(config.get_text_config())
    model = _build_on_meta(config)
    _check_whole(options, model)
    return read_architecture(model, options.max_context)


def _build_on_meta(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without weights. Raises `UnsupportedArchitecture` where transformers cannot build it for us."""
    register_attention()
    vars(config).pop("quantization_config", None)  # no shape depends on it
    refused = f"{config.model_type} models cannot be served"
    if not is_encoder_decoder(config) and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UnsupportedArchitecture(f"{refused}: they are no causal language models")
    build: Callable[..., PreTrainedModel] = _auto_class(config).from_config
    broken = f"{refused}: transformers cannot build one around another attention function"
    with foreign_errors(UnsupportedArchitecture, broken), torch.device("meta"):
        # Routing to experts on the meta device works in one of their implementations only; shapes depend on none.
        config._experts_implementation = "batched_mm"
        model = build(config, attn_implementation=built_with(config), trust_remote_code=False)
    model.train(False)
    return model


def _check_whole(options: BaseModelOptions, model: PreTrainedModel) -> None:
    """Refuse a GGUF file of which transformers would read a part only. `model` is on the meta device."""
    if is_gguf(options.source):
        check_all_is_read(options.source, read_base_file(options.source), model)


def _forget_dynamic_rope(config: PreTrainedConfig) -> None:
    """Dynamic RoPE reads the values of positions, which a meta tensor lacks. No shape depends on it."""
    parameters = getattr(config, "rope_parameters", None) or {}
    for rope in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        if rope.get("rope_type") == "dynamic":
            rope["rope_type"] = "default"


def load_config(options: BaseModelOptions) -> PreTrainedConfig:
    """Read the model's configuration; raises `BaseModelUnavailable`, and `UnsupportedArchitecture` for known types."""
    source = options.source
    check_source(source, options.revision)
    header = read_base_file(source) if is_gguf(source) else None
    where = "file" if header is not None else "folder" if os.path.isdir(source) else "hub id"
    with foreign_errors(BaseModelUnavailable, f"the {where} {source!r} holds no usable model"):
        if header is None:
            check_quantization(source, read_config(source, options.revision))
        with transformers_source(source) as (place, gguf):
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                place, **gguf, revision=options.revision, trust_remote_code=False
            )
        if header is not None:
            complete_config(config, header)
        check_model_type(config.get_text_config())
    return config


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA where there is one; raises `BaseModelUnavailable` for a device this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BaseModelUnavailable(f"there is no device {name} on this machine")
    return device


def choose_dtype(name: str, config: PreTrainedConfig, device: torch.device) -> torch.dtype:
    """ "auto" is float32 on a CPU, and on a GPU what the weights are stored in."""
    if name != "auto":
        return _DTYPES[name]
    stored = config.get_text_config().dtype
    if device.type == "cpu" or not isinstance(stored, torch.dtype):
        return torch.float32
    return stored


def dtype_name(dtype: torch.dtype) -> str:
    """The name used in settings and records: "float32", "float16" or "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def read_generation_config(options: BaseModelOptions, config: PreTrainedConfig) -> GenerationConfig:
    """The generation configuration that transformers would load with the model."""
    try:
        return GenerationConfig.from_pretrained(options.source, revision=options.revision or "main")
    except OSError:  # as transformers: without a file, what the model's configuration says
        return GenerationConfig.from_model_config(config)


def eos_token_ids_of(generation_config: object, config: PreTrainedConfig) -> frozenset[int]:
    """The ids that end a generation."""
    configured = getattr(generation_config, "eos_token_id", None)
    if configured is None:
        configured = getattr(config.get_text_config(), "eos_token_id", None)
    if configured is None:
        return frozenset()
    return frozenset([configured] if isinstance(configured, int) else configured)
