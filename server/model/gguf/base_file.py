"""A GGUF file as a base model: its name, its end tokens, and the check that transformers reads all of it."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from server.model.errors import BaseModelUnavailable, UnsupportedArchitecture
from server.model.gguf.header import GgufHeader, Value, read_header

SUFFIX = ".gguf"
TOKENS = "tokenizer.ggml.tokens"
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_NAME_LENGTH = 96
_MAX_LAYERS = 256
_MAX_EXPERTS = 4_096
_MAX_SIZE = 1 << 24
_MAX_CONTEXT = 1 << 31
# The ends of an answer and of a turn, by llama.cpp's names.
_END_TOKENS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
_TOKEN_IDS = (*_END_TOKENS, *(f"tokenizer.ggml.{name}_token_id" for name in ("bos", "padding", "unknown")))
# The types that store numbers as they are; the others are dequantised, to float32 unless settings say otherwise.
_STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def is_gguf(source: str) -> bool:
    """Whether a base model's source names a GGUF file, by its suffix."""
    return source.lower().endswith(SUFFIX) and not os.path.isdir(source)


def read_base_file(source: str) -> GgufHeader:
    """The header of a file that can be a base model; raises `BaseModelUnavailable` with the reason if it cannot."""
    path = Path(source).expanduser()
    if not path.is_file():
        raise BaseModelUnavailable(
            f"there is no file {source!r}: a GGUF base model is one local file, so download a file of the hub first "
            "and name its path"
        )
    header = read_header(path)
    _check_metadata(source, header)
    if importlib.util.find_spec("gguf") is None:
        raise BaseModelUnavailable(
            f"reading {source!r} needs the package gguf; install it with: pip install 'softprompt-server[gguf]'"
        )
    return header


def _check_metadata(source: str, header: GgufHeader) -> None:
    """Refuse what transformers would allocate by, or fail over, without a word."""
    refused = f"the GGUF file {source!r} cannot be used"
    architecture = header.text("general.architecture")
    if architecture is None or not _ARCHITECTURE.fullmatch(architecture):
        raise BaseModelUnavailable(f"{refused}: it names no architecture (general.architecture)")
    if (num_parts := header.integer("split.count") or 1) > 1:
        raise BaseModelUnavailable(
            f"{refused}: it is one of {num_parts} parts; merge them with: llama-gguf-split --merge"
        )
    for key in header.metadata:
        value = header.integer(key)
        if value is not None and key.startswith(f"{architecture}."):
            limit = _limit(key, len(header.tensors))
            if not 0 <= value <= limit:
                raise BaseModelUnavailable(f"{refused}: its {key} is {value} (allowed: 0 to {limit})")
    tokens = header.metadata.get(TOKENS)
    if not isinstance(tokens, tuple) or not tokens or not isinstance(tokens[0], str):
        raise BaseModelUnavailable(f"{refused}: it holds no vocabulary ({TOKENS})")
    for key in _TOKEN_IDS:
        token_id = header.integer(key)
        if key in header.metadata and (token_id is None or not 0 <= token_id < len(tokens)):
            raise BaseModelUnavailable(
                f"{refused}: its {key} is {header.metadata[key]!r} (allowed: 0 to {len(tokens) - 1})"
            )


def _limit(key: str, num_tensors: int) -> int:
    """The largest value of one number of the architecture."""
    if key.endswith(".block_count"):
        return min(_MAX_LAYERS, num_tensors)
    if key.endswith(".expert_count"):
        return _MAX_EXPERTS
    return _MAX_CONTEXT if key.endswith("context_length") else _MAX_SIZE


@contextmanager
def transformers_source(source: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The source and the further arguments of a `from_pretrained`.

    A GGUF file is named in an empty folder, by its absolute path: transformers would read an adapter or a tokenizer's
    configuration beside it, and prefers a file of that name in the current folder.
    """
    if not is_gguf(source):
        yield source, {}
        return
    with tempfile.TemporaryDirectory(prefix="softprompt-gguf-") as folder:
        yield folder, {"gguf_file": os.path.abspath(os.path.expanduser(source))}


def complete_config(config: PreTrainedConfig, header: GgufHeader) -> None:
    """Write into the configuration what transformers does not read from the file: all end tokens, the stored dtype."""
    ends = sorted({value for key in _END_TOKENS if (value := header.integer(key)) is not None})
    if ends:
        config.eos_token_id = ends[0] if len(ends) == 1 else ends
    types = {tensor.type.name for tensor in header.tensors}
    if types <= _STORED.keys():
        config.dtype = next(_STORED[name] for name in ("BF16", "F16", "F32") if name in types or name == "F32")


def check_all_is_read(source: str, header: GgufHeader, model: PreTrainedModel) -> None:
    """Refuse a file that transformers would read in part; `model` is the one built for its configuration, unloaded.

    transformers drops tensors and metadata that its configuration has no place for, such as biases or the factors of
    a scaled rotary embedding. Raises `UnsupportedArchitecture`, before memory for weights is allocated.
    """
    config = model.config.get_text_config()
    refused = f"the GGUF file {source!r} cannot be served exactly"
    scaling = header.text(f"{header.text('general.architecture')}.rope.scaling.type")
    scaled_by_tensor = any(tensor.name.startswith(("rope_freqs.", "rope_factors_")) for tensor in header.tensors)
    rope = getattr(config, "rope_parameters", None) or {}
    if (scaled_by_tensor or scaling not in (None, "none")) and rope.get("rope_type", "default") == "default":
        raise UnsupportedArchitecture(
            f"{refused}: it scales its rotary embedding, which transformers does not read from a GGUF file; serve the "
            "model's own folder or hub id"
        )
    ignored = ("output.weight",) if config.tie_word_embeddings else ()  # a copy of the embeddings
    stored = sum(tensor.num_elements for tensor in header.tensors if tensor.name not in ignored)
    expected = sum(parameter.numel() for parameter in model.parameters())
    if stored != expected:
        raise UnsupportedArchitecture(
            f"{refused}: its tensors hold {stored} numbers, and the {config.model_type} model that transformers makes "
            f"of its metadata {expected}"
        )


def architecture_metadata(header: GgufHeader) -> Mapping[str, Value]:
    """The file's own configuration: what the fingerprint covers, whatever a release of transformers makes of it."""
    architecture = header.text("general.architecture")
    keys = [key for key in header.metadata if key == "general.architecture" or key.startswith(f"{architecture}.")]
    return {key: header.metadata[key] for key in keys}


def public_name(source: str, header: GgufHeader) -> str:
    """The file's `general.name` as a model id, or the file's name without its suffix where that gives none."""
    named = _NOT_IN_A_NAME.sub("-", header.text("general.name") or "").strip("-._")[:_MAX_NAME_LENGTH]
    return named or Path(source).expanduser().resolve().stem
