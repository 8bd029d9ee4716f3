"""The base model that the settings name, and its loading: model, attention, tokenizer and identity."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from prompts_store.base_names import hub_id_of
from prompts_store.records import BaseModel
from server.demo import BASE_DIR, BASE_NAME
from server.model.architecture import Architecture
from server.model.attention import AttentionBackend
from server.model.attention_backend import choose_backend
from server.model.base_model import (
    BaseModelOptions,
    LoadedModel,
    choose_device,
    choose_dtype,
    dtype_name,
    load_base_model,
    load_config,
    load_skeleton,
)
from server.model.identity import fingerprint
from server.model.self_proof import prove
from server.settings import ServeSettings
from server.tokenizer.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of the base model. `base_id` is its public name; checkpoints may use any of `names`."""

    source: str
    base_id: str
    names: tuple[str, ...]
    is_demo: bool


def find_origin(settings: ServeSettings) -> Origin:
    """The source that the settings name: the bundled demo, a folder or a hub id."""
    if settings.base_model is None:
        return Origin(str(BASE_DIR), BASE_NAME, (BASE_NAME, *settings.base_names, *_paths(BASE_DIR)), is_demo=True)
    path = Path(settings.base_model).expanduser()
    if not path.is_dir():  # a hub id
        return Origin(settings.base_model, settings.base_model, (settings.base_model, *settings.base_names), False)
    own = path.resolve().name
    base_id = settings.base_names[0] if settings.base_names else own
    names = (base_id, *settings.base_names, own, settings.base_model, *_paths(path))
    return Origin(str(path), base_id, tuple(dict.fromkeys(names)), False)


def _paths(folder: Path) -> tuple[str, ...]:
    """The folder's absolute path, with links and without, and the hub id if it is a snapshot in a hub cache."""
    absolute = os.path.abspath(folder)
    hub_id = hub_id_of(absolute)
    return (absolute, str(folder.resolve()), *([] if hub_id is None else [hub_id]))


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBase:
    """The base model with all that belongs to it. `attention` serves, and is the backend that passed the self-proof."""

    base: BaseModel
    model: LoadedModel
    attention: AttentionBackend
    tokenizer: Tokenizer


def load_base(settings: ServeSettings, origin: Origin) -> LoadedBase:
    """Load the base model and prove it. Raises `ModelError` and `TextError`."""
    loaded = load_base_model(_model_options(settings, origin))
    attention = choose_backend(loaded.device, exact=settings.attention == "exact")
    logger.info("self-proof passed: logits agree to %.1e of their spread", prove(loaded, attention))
    tokenizer = Tokenizer.load(origin.source, revision=settings.revision, num_rows=loaded.architecture.vocab_size)
    if tokenizer.num_ids_without_row:
        logger.warning(
            "%d tokens of the tokenizer, from id %d on, have no row in the base model: texts that hold one are refused",
            tokenizer.num_ids_without_row,
            tokenizer.num_ids,
        )
    if (template := tokenizer.chat_template) is not None and template.problem is not None:
        logger.warning("%s: chats are refused, completions and classifications are answered", template.problem)
    base = _describe(settings, origin, tokenizer, loaded.architecture, loaded.dtype)
    return LoadedBase(base, loaded, attention, tokenizer)


def read_base_model(settings: ServeSettings) -> BaseModel:
    """The base model's identity and sizes, read from its files without loading weights. Raises `ModelError`."""
    origin = find_origin(settings)
    options = _model_options(settings, origin)
    dtype = choose_dtype(options.dtype, load_config(options), choose_device(options.device))
    tokenizer = Tokenizer.load(origin.source, revision=settings.revision)
    return _describe(settings, origin, tokenizer, load_skeleton(options), dtype)


def _model_options(settings: ServeSettings, origin: Origin) -> BaseModelOptions:
    return BaseModelOptions(
        source=origin.source,
        revision=settings.revision,
        dtype=settings.dtype,
        device=settings.device,
        max_context=settings.max_context,
    )


def _describe(
    settings: ServeSettings, origin: Origin, tokenizer: Tokenizer, architecture: Architecture, dtype: torch.dtype
) -> BaseModel:
    uniform = architecture.uniform_kv
    data_dir = settings.data_dir.expanduser()
    return BaseModel(
        fingerprint=fingerprint(origin.source, settings.revision, tokenizer.id_mapping, data_dir / "cache"),
        names=origin.names,
        hidden_size=architecture.hidden_size,
        num_layers=architecture.num_layers,
        num_kv_heads=None if uniform is None else uniform[0],
        head_dim=None if uniform is None else uniform[1],
        max_context=architecture.max_context,
        serving_dtype=dtype_name(dtype),
        num_attention_heads=architecture.num_attention_heads,
    )
