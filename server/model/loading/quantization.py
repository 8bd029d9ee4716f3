"""Quantised base models: which of them transformers turns into plain weights, and the refusal of all others by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig

from server.model.errors import BaseModelUnavailable

# transformers dequantises these while it loads, in plain PyTorch operations on any device.
_DEQUANTISED = {"fp8": "FP8 (blocks of weights with a scale)", "mxfp4": "MXFP4"}
_PLAIN = frozenset({torch.float32, torch.float16, torch.bfloat16})
_NAMES = {
    "aqlm": "AQLM",
    "auto-round": "AutoRound",
    "awq": "AWQ",
    "bitnet": "BitNet",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "EETQ",
    "fbgemm_fp8": "FBGEMM FP8",
    "fp_quant": "FP-Quant",
    "gptq": "GPTQ",
    "higgs": "HIGGS",
    "hqq": "HQQ",
    "modelopt": "ModelOpt",
    "mxfp8": "MXFP8",
    "nvfp4": "NVFP4",
    "quanto": "Quanto",
    "quark": "Quark",
    "spqr": "SpQR",
    "torchao": "torchao",
    "vptq": "VPTQ",
}
# vLLM 0.32 documents these.
_SERVED_BY_VLLM = frozenset(
    {"auto-round", "awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "gptq", "modelopt", "quark", "torchao"}
)


def check_quantization(source: str, config: Mapping[str, Any]) -> None:
    """Refuse a model whose quantised weights cannot be served. `config` is `config.json` as stored.

    Raises `BaseModelUnavailable`.
    """
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping) and (quantization := holder.get("quantization_config")):
            _check(source, quantization)


def dequantise(config: PreTrainedConfig) -> str | None:
    """Make transformers dequantise the weights that it loads by this configuration. The method's name, if it has one.

    The configuration must have passed `check_quantization`.
    """
    quantization: Any = getattr(config, "quantization_config", None)
    if not quantization:
        vars(config).pop("quantization_config", None)
        return None
    config.quantization_config = {**quantization, "dequantize": True}
    return _DEQUANTISED[_method(quantization)]


def check_dequantised(model: torch.nn.Module) -> None:
    """Raise ValueError naming a parameter that is still quantised: its scale is missing, or has another name."""
    for name, parameter in model.named_parameters():
        if parameter.dtype not in _PLAIN:
            raise ValueError(f"{name} is stored as {parameter.dtype} without the scale that belongs to it")


def _check(source: str, quantization: Any) -> None:
    if not isinstance(quantization, dict):
        raise BaseModelUnavailable(f"the quantization_config of {source!r} is no JSON object")
    method = _method(quantization)
    if method in _DEQUANTISED:
        return
    if method not in _NAMES:
        raise BaseModelUnavailable(
            f"the quantization_config of {source!r} names no method that the server knows (quant_method): serve the "
            "model's unquantised copy, or a GGUF file of it (extra gguf)"
        )
    elsewhere = " vLLM serves it, without soft prompts." if method in _SERVED_BY_VLLM else ""
    raise BaseModelUnavailable(
        f"{source!r} is quantised with {_NAMES[method]}, which the server does not compute: serve the model's "
        f"unquantised copy, or a GGUF file of it (extra gguf).{elsewhere}"
    )


def _method(quantization: Mapping[str, Any]) -> str:
    if quantization.get("load_in_4bit") or quantization.get("load_in_8bit"):
        return "bitsandbytes"
    return str(quantization.get("quant_method", "")).lower()
