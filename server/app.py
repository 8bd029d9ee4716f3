"""The composition root: the one place that knows everyone."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from fastapi import FastAPI

from prompts_store.errors import StoreUnavailable
from prompts_store.records import BaseModel
from prompts_store.store import Store
from server import __version__
from server.api.application import build_api
from server.api.limits import ApiSettings
from server.api.services import Services
from server.demo import BASE_DIR, BASE_NAME, TASKS_DIR
from server.engine.async_engine import AsyncEngine
from server.engine.engine import Engine
from server.engine.options import EngineOptions
from server.model.architecture import Architecture
from server.model.attention_backend import AttentionBackend, choose_backend
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
from server.model.gpu.decode_graphs import usual_sizes
from server.model.gpu.profile import activation_bytes
from server.model.gpu.recorder import record_decodes
from server.model.identity import fingerprint
from server.model.kv_cache import KVCache
from server.model.memory import CacheSize, choose_num_blocks
from server.model.paged_attention import PagedAttention
from server.model.runner import ModelRunner
from server.model.self_proof import prove
from server.settings import ServeSettings
from server.soft_prompts.bundled import publish_folder
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.tasks_folder import TasksFolder
from server.telemetry.metrics import Metrics
from server.telemetry.observed_engine import EngineObserver, ObservedEngine
from server.telemetry.tracing import NoTracing, OtelTracing, otlp_provider
from server.tokenizer.tokenizer import Tokenizer

__all__ = ["Services", "build_services", "create_app", "read_base_model"]

logger = logging.getLogger(__name__)

_DEMO_THREADS = 1  # the demo's matrices are too small to be worth sharing between threads
_MAX_BATCH_TOKENS = {"cpu": 512, "cuda": 4096}


class TasksFolderUnreadable(Exception):
    """The folder of tasks is none, or cannot be read."""


def create_app(services: Services) -> FastAPI:
    """The application. While it runs, the engine computes and the catalog follows the store's changes."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(services.engine.running())
            await stack.enter_async_context(services.catalog.following())
            await stack.enter_async_context(services.shadows.running(services.engine, services.catalog))
            if services.tasks_folder is not None:
                await stack.enter_async_context(services.tasks_folder.watching())
            yield
            await services.drain.finish(grace_s=0)
        services.tracing.close()
        services.store.close()

    return build_api(services, lifespan)


def build_services(settings: ServeSettings) -> Services:
    """Open the store, load the model, prove it, size the KV cache; publish the demo's tasks where none are yet.

    Raises `ModelError`, `StoreError`, `TokenizerUnsupported` and `TracingUnavailable`, with messages for the operator.
    """
    store = Store.open(
        _prepared_store_url(settings)
    )  # first: a database that cannot be used is said before a long load
    try:
        return _build_services(settings, store)
    except BaseException:
        store.close()
        raise


def _build_services(settings: ServeSettings, store: Store) -> Services:
    origin = _origin(settings)
    metrics = Metrics(settings.max_task_metrics)
    tracing = _tracing(settings, origin.base_id)
    if settings.threads is not None or origin.is_demo:
        torch.set_num_threads(settings.threads or _DEMO_THREADS)
    loaded = load_base_model(_model_options(settings, origin))
    tokenizer = Tokenizer.load(origin.source, revision=settings.revision)
    logger.info("self-proof passed: logits agree to %.1e of their spread", prove(loaded, _attention(settings, loaded)))
    base = _describe(settings, origin, tokenizer, loaded.architecture, loaded.dtype)
    if origin.is_demo and base.fingerprint not in store.bases():
        publish_folder(store, base, TASKS_DIR, actor="demo")
    key = settings.api_key
    eos_token_ids = tokenizer.eos_token_ids(loaded.eos_token_ids)
    engine = _build_engine(settings, loaded, eos_token_ids)
    observers: list[EngineObserver] = [metrics.requests]
    if isinstance(tracing, OtelTracing):
        observers.append(tracing)
    return Services(
        engine=ObservedEngine(engine, observers),
        tokenizer=tokenizer,
        catalog=TaskCatalog(store, base),
        store=store,
        base=base,
        base_id=origin.base_id,
        eos_token_ids=eos_token_ids,
        tasks_folder=_publish_tasks(settings, store, base),
        settings=ApiSettings(api_key=None if key is None else key.get_secret_value()),
        metrics=metrics,
        tracing=tracing,
    )


def _tracing(settings: ServeSettings, base_id: str) -> NoTracing | OtelTracing:
    if settings.otlp_endpoint is None:
        return NoTracing()
    return OtelTracing(otlp_provider(settings.otlp_endpoint, __version__), base_id)


def _publish_tasks(settings: ServeSettings, store: Store, base: BaseModel) -> TasksFolder | None:
    """Publish the operator's folder, if there is one, before the first request. Raises `TasksFolderUnreadable`."""
    if settings.tasks_dir is None:
        return None
    folder = TasksFolder(settings.tasks_dir.expanduser(), store, base)
    try:
        folder.look(at_once=True)
    except OSError as error:
        raise TasksFolderUnreadable(f"--tasks-dir {settings.tasks_dir} cannot be read: {error.strerror}") from error
    return folder


def read_base_model(settings: ServeSettings) -> BaseModel:
    """What checkpoints must fit, from the model's files alone: no weights are loaded. Raises `ModelError`."""
    origin = _origin(settings)
    options = _model_options(settings, origin)
    dtype = choose_dtype(options.dtype, load_config(options), choose_device(options.device))
    tokenizer = Tokenizer.load(origin.source, revision=settings.revision)
    return _describe(settings, origin, tokenizer, load_skeleton(options), dtype)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the base model comes from. `base_id` is its public name, `names` those that checkpoints may give it."""

    source: str
    base_id: str
    names: tuple[str, ...]
    is_demo: bool


def _origin(settings: ServeSettings) -> _Origin:
    if settings.base_model is None:
        return _Origin(str(BASE_DIR), BASE_NAME, (BASE_NAME, *settings.base_names), is_demo=True)
    path = Path(settings.base_model).expanduser()
    if not path.is_dir():  # a hub id
        return _Origin(settings.base_model, settings.base_model, (settings.base_model, *settings.base_names), False)
    own = path.resolve().name
    base_id = settings.base_names[0] if settings.base_names else own
    return _Origin(
        str(path), base_id, tuple(dict.fromkeys((base_id, *settings.base_names, own, settings.base_model))), False
    )


def _model_options(settings: ServeSettings, origin: _Origin) -> BaseModelOptions:
    return BaseModelOptions(
        source=origin.source,
        revision=settings.revision,
        dtype=settings.dtype,
        device=settings.device,
        max_context=settings.max_context,
    )


def _describe(
    settings: ServeSettings, origin: _Origin, tokenizer: Tokenizer, architecture: Architecture, dtype: torch.dtype
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
    )


def _prepared_store_url(settings: ServeSettings) -> str:
    if settings.database_url is None:
        try:
            settings.data_dir.expanduser().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the data folder {settings.data_dir} cannot be made: {error.strerror}") from error
    return settings.store_url


def _attention(settings: ServeSettings, loaded: LoadedModel) -> AttentionBackend:
    return PagedAttention if settings.attention == "exact" else choose_backend(loaded.device)


def _build_runner(settings: ServeSettings, loaded: LoadedModel, num_blocks: int) -> ModelRunner:
    """The KV cache and what computes over it; on a GPU with decode steps recorded, whose padding takes a block more."""
    is_recorded = loaded.device.type == "cuda" and settings.attention == "auto"
    attention = _attention(settings, loaded)
    cache = KVCache(
        loaded.architecture.layers, num_blocks + is_recorded, settings.block_size, loaded.dtype, loaded.device
    )
    replay = record_decodes(loaded, cache, attention, usual_sizes(settings.max_num_seqs)) if is_recorded else None
    return ModelRunner(loaded, cache, attention, replay)


def _build_engine(settings: ServeSettings, loaded: LoadedModel, eos_token_ids: frozenset[int]) -> AsyncEngine:
    size = CacheSize(settings.block_size, settings.num_kv_blocks, settings.kv_cache_gib)
    max_batch_tokens = max(
        settings.max_batch_tokens or _MAX_BATCH_TOKENS[loaded.device.type], settings.max_num_seqs + 1
    )
    own_bytes = 0
    if loaded.device.type == "cuda":
        own_bytes = activation_bytes(loaded, max_batch_tokens, settings.max_num_seqs, settings.block_size)
    num_blocks = choose_num_blocks(loaded, size, own_bytes)
    options = EngineOptions(
        num_blocks=num_blocks,
        block_size=settings.block_size,
        max_prefix_blocks=max(1, int((num_blocks - 1) * settings.max_prefix_share)),
        max_num_seqs=settings.max_num_seqs,
        max_batch_tokens=max_batch_tokens,
        max_open_requests=settings.max_waiting + settings.max_num_seqs,
        max_context=loaded.architecture.max_context,
        vocab_size=loaded.architecture.vocab_size,
        eos_token_ids=eos_token_ids,
    )
    logger.info("KV cache: %d blocks of %d tokens on %s", num_blocks - 1, settings.block_size, loaded.device)
    engine = Engine(_build_runner(settings, loaded, num_blocks), options)
    return AsyncEngine(engine, options, wedged_after_s=settings.engine_timeout_s)
