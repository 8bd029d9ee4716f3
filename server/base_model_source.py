"""The base model that the settings name, and its loading: model, attention, tokenizer and identity."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedConfig

from prompts_store.base_names import hub_id_of
from prompts_store.checkpoint.embedding_check import BaseEmbeddings
from prompts_store.checkpoint_records import BaseKind, BaseModel
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
    eos_token_ids_of,
    load_base_model,
    load_config,
    load_skeleton,
    read_generation_config,
)
from server.model.embedding_layers import embedding_layers
from server.model.encoder.kind import is_encoder
from server.model.encoder.loading import load_encoder, load_encoder_skeleton
from server.model.encoder.proof import prove_encoder
from server.model.gguf.base_file import is_gguf, public_name, read_base_file
from server.model.heads.heads import Heads
from server.model.heads.held import HeldParameters
from server.model.identity import fingerprint
from server.model.model_files import stored_weight_files
from server.model.self_proof import prove
from server.settings import ServeSettings
from server.tokenizer.errors import UnknownToken
from server.tokenizer.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

PROOF_TEXT = "The sea was calm, and a small boat moved slowly towards the harbour, where people were waiting for it."


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of the base model. `base_id` is its public name; checkpoints may use any of `names`."""

    source: str
    base_id: str
    names: tuple[str, ...]
    is_demo: bool


def find_origin(settings: ServeSettings) -> Origin:
    """The source that the settings name: the bundled demo, a folder, a GGUF file or a hub id.

    Raises `BaseModelUnavailable` for a GGUF file that cannot be read.
    """
    if settings.base_model is None:
        return Origin(str(BASE_DIR), BASE_NAME, (BASE_NAME, *settings.base_names, *_paths(BASE_DIR)), is_demo=True)
    path = Path(settings.base_model).expanduser()
    if is_gguf(str(path)):
        own = public_name(str(path), read_base_file(str(path)))
    elif path.is_dir():
        own = path.resolve().name
    else:  # a hub id
        return Origin(settings.base_model, settings.base_model, (settings.base_model, *settings.base_names), False)
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
    """The base model with all that belongs to it. `attention` serves, and is the backend that passed the self-proof.

    An encoder has none: its attention is a part of the model.
    """

    base: BaseModel
    heads: Heads
    model: LoadedModel
    attention: AttentionBackend | None
    tokenizer: Tokenizer


def load_base(settings: ServeSettings, origin: Origin) -> LoadedBase:
    """Load the base model and prove it. Raises `ModelError` and `TextError`."""
    options = _model_options(settings, origin)
    config = load_config(options)
    attention: AttentionBackend | None = None
    if _is_encoder(origin, config):
        loaded = load_encoder(options)
    else:
        loaded = load_base_model(options)
        attention = choose_backend(loaded.device, exact=settings.attention == "exact")
    tokenizer = load_tokenizer(settings, origin, loaded.architecture.vocab_size)
    if attention is None:
        logger.info("self-proof passed: %s", prove_encoder(loaded))
    else:
        logger.info("self-proof passed: %s", prove(loaded, attention, text=_proof_text(tokenizer)))
    heads = _heads(settings, origin, config, loaded.architecture.kind, loaded.device)
    base = _describe(settings, origin, tokenizer, loaded.architecture, loaded.dtype, heads)
    return LoadedBase(base, heads, loaded, attention, tokenizer)


def load_tokenizer(settings: ServeSettings, origin: Origin, vocab_size: int) -> Tokenizer:
    """The tokenizer. What it cannot do with this base model is logged. Raises `TextError`."""
    tokenizer = Tokenizer.load(origin.source, revision=settings.revision, num_rows=vocab_size)
    if tokenizer.num_ids_without_row:
        logger.warning(
            "%d tokens of the tokenizer, from id %d on, have no row in the base model: texts that hold one are refused",
            tokenizer.num_ids_without_row,
            tokenizer.num_ids,
        )
    if (template := tokenizer.chat_template) is not None and template.problem is not None:
        logger.warning("%s: chats are refused, completions and classifications are answered", template.problem)
    return tokenizer


def _proof_text(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Real text for the self-proof; none where the base model has no row for one of its tokens."""
    try:
        return tokenizer.encode(PROOF_TEXT)
    except UnknownToken:
        return ()


def base_embeddings(settings: ServeSettings) -> BaseEmbeddings:
    """Return a reader of the base model's embedding layers, for checkpoints that hold one of their own."""
    return partial(embedding_layers, find_origin(settings).source, settings.revision)


def read_base_model(settings: ServeSettings) -> BaseModel:
    """The base model's identity and sizes, read from its files without loading weights. Raises `ModelError`."""
    return read_base(settings, find_origin(settings)).base


@dataclass(frozen=True, slots=True, eq=False)
class ReadBase:
    """What the files of a base model say of it, its weights unread. `eos_token_ids` end a generation."""

    base: BaseModel
    heads: Heads
    dtype: torch.dtype
    eos_token_ids: frozenset[int]
    generation_config: GenerationConfig


def read_base(settings: ServeSettings, origin: Origin) -> ReadBase:
    """Read the base model's files without loading weights. Raises `ModelError` and `TextError`."""
    options = _model_options(settings, origin)
    config = load_config(options)
    dtype = choose_dtype(options.dtype, config, choose_device(options.device))
    skeleton = load_encoder_skeleton(options) if _is_encoder(origin, config) else load_skeleton(options)
    heads = _heads(settings, origin, config, skeleton.kind)
    tokenizer = Tokenizer.load(origin.source, revision=settings.revision)
    base = _describe(settings, origin, tokenizer, skeleton, dtype, heads)
    generation_config = read_generation_config(options, config)
    return ReadBase(base, heads, dtype, eos_token_ids_of(generation_config, config), generation_config)


def _is_encoder(origin: Origin, config: PreTrainedConfig) -> bool:
    return not is_gguf(origin.source) and is_encoder(config)


def _heads(
    settings: ServeSettings,
    origin: Origin,
    config: PreTrainedConfig,
    kind: BaseKind,
    device: torch.device | None = None,
) -> Heads:
    """The heads that the base model can have. A GGUF file holds none of their parameters."""
    files = () if is_gguf(origin.source) else stored_weight_files(origin.source, settings.revision)
    return Heads(config, kind, HeldParameters(files), device)


def _model_options(settings: ServeSettings, origin: Origin) -> BaseModelOptions:
    return BaseModelOptions(
        source=origin.source,
        revision=settings.revision,
        dtype=settings.dtype,
        device=settings.device,
        max_context=settings.max_context,
        weights=settings.weights,
    )


def _describe(
    settings: ServeSettings,
    origin: Origin,
    tokenizer: Tokenizer,
    architecture: Architecture,
    dtype: torch.dtype,
    heads: Heads,
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
        kind=architecture.kind,
        heads=heads,
        key_values_problem=architecture.key_values_problem,
        num_encoder_layers=architecture.num_encoder_layers,
    )
