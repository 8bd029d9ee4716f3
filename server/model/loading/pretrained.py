"""A model with its weights, built by transformers from a folder, a hub id or a GGUF file."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from server.model.gguf.base_file import is_gguf, transformers_source
from server.model.loading.pickles import check_pickles, pickles_named
from server.model.loading.progress import showing_progress
from server.model.loading.quantization import check_dequantised, dequantise
from server.model.loading.stored_ranges import read_ranges
from server.model.loading.stored_weights import stored_weights
from server.model.model_files import CONFIG, read_config, weight_files

logger = logging.getLogger(__name__)

_SAFETENSORS = ".safetensors"


def load_pretrained(
    skeleton: PreTrainedModel,
    source: str,
    revision: str | None,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype,
    attention: str,
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """The model in `dtype` on the CPU, and transformers' report of missing and mismatched tensors.

    `skeleton` is the same model on the meta device, `attention` the attention implementation to build with. Of weights
    in safetensors files, no more than a few tensors exist twice at any time. Raises what transformers raises.
    """
    model_class = type(skeleton)
    asked: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention}
    # transformers' own refusal of another shape names no tensor; its report does.
    asked |= {"trust_remote_code": False, "output_loading_info": True, "ignore_mismatched_sizes": True}
    load: Callable[..., Any] = partial(model_class.from_pretrained, **asked)
    if is_gguf(source):
        with transformers_source(source) as (folder, gguf):
            model, report = load(folder, **gguf, config=config)
            return model, report
    files = weight_files(source, revision, read_config(source, revision))
    own = _own_config(model_class, config)
    if (method := dequantise(own)) is not None:
        logger.info("the weights are stored as %s, and are dequantised to %s", method, dtype)
    if all(file.suffix == _SAFETENSORS for file in files):
        num_bytes = sum(stored.end - stored.begin for file in files for stored in read_ranges(file))
        with (
            showing_progress("loading weights", num_bytes) as progress,
            stored_weights(files, dtype, _own_names(skeleton), progress) as weights,
        ):
            model, report = load(None, state_dict=weights, config=own)
        check_dequantised(model)
    else:
        check_pickles(files)
        with pickles_named(files):  # by their folder: for a hub id, transformers would ask the hub to convert them
            model, report = load(str(files[0].parent), config=own)
    model.name_or_path = model.config.name_or_path = source
    if model.can_generate():
        model.generation_config = _generation_config(source, revision)
    return model, report


def _own_names(skeleton: PreTrainedModel) -> frozenset[str]:
    """The names of the model's parameters; also those of an encoder alone in a file of an encoder with a head."""
    names = frozenset(skeleton.state_dict())
    return names | {f"{skeleton.base_model_prefix}.{name}" for name in names}


def _own_config(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration that the model's class takes: the text's of a model of several parts, as `AutoModel` does."""
    if model_class.config_class is None or isinstance(config, model_class.config_class):
        return copy.deepcopy(config)
    own = copy.deepcopy(config.get_text_config())
    if (quantization := getattr(config, "quantization_config", None)) is not None:
        own.quantization_config = quantization
    return own


def _generation_config(source: str, revision: str | None) -> GenerationConfig:
    """The generation configuration as transformers loads it beside weights."""
    try:
        return GenerationConfig.from_pretrained(source, revision=revision or "main")
    except OSError:
        return GenerationConfig.from_pretrained(
            source, config_file_name=CONFIG, _from_model_config=True, revision=revision or "main"
        )
