"""Loading the frozen base model: once, as transformers has it, with our attention function."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from server.model.architecture import Architecture, check_model_type, read_architecture
from server.model.attention import ATTENTION_NAME, register_attention
from server.model.errors import BaseModelUnavailable
from server.model.fused_layer import fuse_layers
from server.model.packing import pack_linears

logger = logging.getLogger(__name__)

# What transformers raises over files that are missing, cut off or not what they say.
_FOREIGN = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class BaseModelOptions:
    """Which base model, and how. `source` is a hub id or a local folder; `dtype` and `device` may be "auto"."""

    source: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_context: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """The frozen model in evaluation mode, on its device, and what the engine must know of it.

    `eos_token_ids` end a generation, from the model's generation configuration.
    """

    model: PreTrainedModel
    architecture: Architecture
    dtype: torch.dtype
    device: torch.device
    eos_token_ids: frozenset[int]


def load_base_model(options: BaseModelOptions) -> LoadedModel:
    """Load weights and freeze them.

    Raises `BaseModelUnavailable` where there is no such model and `UnsupportedArchitecture` where it cannot be served.
    """
    register_attention()
    config = load_config(options)
    check_model_type(config.get_text_config())
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, config, device)
    load: Callable[..., Any] = AutoModelForCausalLM.from_pretrained
    model: PreTrainedModel
    report: dict[str, Any]
    try:
        model, report = load(
            options.source,
            revision=options.revision,
            dtype=dtype,
            attn_implementation=ATTENTION_NAME,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (*_FOREIGN, SafetensorError) as error:
        raise BaseModelUnavailable(
            f"the weights of {options.source!r} cannot be loaded: {_first_line(error)}"
        ) from error
    _check_report(options, report)
    model.requires_grad_(False).train(False)
    torch.nn.Module.to(model, device)
    _pack(model)
    architecture = read_architecture(model, options.max_context)
    return LoadedModel(model, architecture, dtype, device, _eos_token_ids(model))


def _pack(model: PreTrainedModel) -> None:
    packing = pack_linears(model)
    if packing.num_layers:
        logger.info(
            "%d linear layers packed for this CPU, %d decoder layers fused; weights kept twice because they are "
            "embeddings too: %.1f MiB",
            packing.num_layers,
            fuse_layers(model),
            packing.num_bytes_twice / 2**20,
        )


def _check_report(options: BaseModelOptions, report: dict[str, Any]) -> None:
    """transformers fills weights that the files lack with random numbers; answers would be noise that looks healthy."""
    for kind, what in (("missing_keys", "lack"), ("mismatched_keys", "hold in another shape")):
        if found := sorted(str(key) for key in report.get(kind) or ()):
            raise BaseModelUnavailable(
                f"the weights of {options.source!r} {what} {len(found)} tensors of the configured model, "
                f"{found[0]} among them"
            )


def load_skeleton(options: BaseModelOptions) -> Architecture:
    """Read the architecture without weights, on the meta device. Raises as `load_base_model` does."""
    register_attention()
    config = load_config(options)
    check_model_type(config.get_text_config())
    _forget_dynamic_rope(config.get_text_config())
    build: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        model = build(config, attn_implementation=ATTENTION_NAME, trust_remote_code=False)
    model.train(False)
    return read_architecture(model, options.max_context)


def _forget_dynamic_rope(config: PreTrainedConfig) -> None:
    """Dynamic RoPE looks at the values of positions, which a meta tensor lacks; no shape depends on it."""
    parameters = getattr(config, "rope_parameters", None) or {}
    for rope in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        if rope.get("rope_type") == "dynamic":
            rope["rope_type"] = "default"


def load_config(options: BaseModelOptions) -> PreTrainedConfig:
    """Read the model's configuration; raises `BaseModelUnavailable`."""
    if options.source.startswith(("/", ".", "~")) and not os.path.isdir(options.source):  # no hub id begins so
        raise BaseModelUnavailable(f"there is no folder {options.source!r}")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            options.source, revision=options.revision, trust_remote_code=False
        )
        return config
    except _FOREIGN as error:
        where = "folder" if os.path.isdir(options.source) else "hub id or folder"
        raise BaseModelUnavailable(
            f"the {where} {options.source!r} holds no usable model: {_first_line(error)}"
        ) from error


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


def _eos_token_ids(model: PreTrainedModel) -> frozenset[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        configured = getattr(model.config.get_text_config(), "eos_token_id", None)
    if configured is None:
        return frozenset()
    return frozenset([configured] if isinstance(configured, int) else configured)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
