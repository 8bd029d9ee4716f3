"""The composition root: it builds all parts of the server and connects them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, fields

import torch
from fastapi import FastAPI

from prompts_store.checkpoint_records import BaseKind, BaseModel
from prompts_store.errors import StoreUnavailable
from prompts_store.keys import KeyLimits
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from server import __version__
from server.answering.label_scores import end_token_id
from server.api.access.access import Access
from server.api.access.key_ring import KeyRing
from server.api.access.overload import OverloadGuard
from server.api.access.quotas import Quotas
from server.api.application import build_api
from server.api.inference.base_facts import BaseFacts
from server.api.inference.batch_lines import BatchLines
from server.api.inference.inference import Inference
from server.api.inference.shadows import ShadowRuns
from server.api.limits import MIB, ApiLimits, ApiSettings
from server.api.management.store_access import StoreAccess
from server.api.removed_tasks import RemovedTasks
from server.api.services import NO_END_TOKEN, Services
from server.base_model_source import Origin, base_embeddings, find_origin
from server.batches.input_file import InputLimits
from server.batches.runner import BatchOptions, BatchRunner
from server.demo import TASKS_DIR, TEMPLATE
from server.engine.client import TuningEngine
from server.engine.events import EngineObserver
from server.engine_choice import choose_engine, own_engine
from server.jobs.assembly import TunedBase
from server.jobs.failures import OwnedTasks
from server.jobs.request import TuningDefaults
from server.jobs.runner import JobRunner
from server.model.allocator import trimming_heap
from server.model.base_model import LoadedModel
from server.model.sampling_defaults import sampling_defaults
from server.settings import ServeSettings
from server.soft_prompts.bundled import publish_folder
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.live_captures import LiveCaptures
from server.soft_prompts.tasks_folder import TasksFolder
from server.store_follower import StoreFollower
from server.telemetry.metrics import Metrics
from server.telemetry.tracing import NoTracing, OtelTracing, otlp_provider
from server.tokenizer.errors import TokenizerUnsupported
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.kept_runs import KeptRuns
from server.tuning_setup import DEMO_THREADS, TunerParts, build_tuner, job_runner, start_tuning_process
from server.web.files import PAGE, read_files

__all__ = ["Services", "Workbench", "build_services", "create_app", "open_workbench"]

_KEY_NEEDED = (
    "{host} can be reached from other machines: set SOFTPROMPT_ADMIN_KEY, make a key with `softprompt key create`, "
    "or pass --insecure if anyone may use and change this server"
)


class KeyNeeded(Exception):
    """The server would listen on an address that is not loopback, without any key."""


class TasksFolderUnreadable(Exception):
    """The folder of tasks does not exist, or cannot be read."""


def create_app(services: Services) -> FastAPI:
    """The application. While it runs, the engine computes, and the catalog and the keys follow the store's changes."""
    access, inference, store_access = services.access, services.inference, services.store_access
    store_access.follower.subscribe(access.keys)
    store_access.follower.subscribe(inference.catalog)
    counts = (services.metrics.requests, inference.shadows)
    store_access.follower.subscribe(RemovedTasks(inference.catalog.fingerprint, counts))
    if services.captures is not None:
        store_access.follower.subscribe(services.captures)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(trimming_heap())
            for owner in (services.observation, store_access, access.keys, inference.catalog):
                stack.callback(owner.close)
            await stack.enter_async_context(inference.engine.running())
            await stack.enter_async_context(store_access.follower.following())
            if services.captures is not None:
                await stack.enter_async_context(services.captures.running())
            await stack.enter_async_context(access.quotas.counting())
            if services.jobs is not None:
                await stack.enter_async_context(services.jobs.running())
            if services.batches is not None:
                await stack.enter_async_context(services.batches.running())
            await stack.enter_async_context(inference.shadows.running(inference.engine, inference.catalog))
            if store_access.tasks_folder is not None:
                await stack.enter_async_context(store_access.tasks_folder.watching())
            yield
            await services.drain.finish(grace_s=0)
        services.tracing.close()
        store_access.store.close()

    return build_api(services, lifespan)


def build_services(settings: ServeSettings) -> Services:
    """Open the store, load and prove the model, size the KV cache, and publish the demo's tasks into an empty store.

    Raises `ModelError`, `StoreError`, `TokenizerUnsupported`, `TracingUnavailable`, `KeyNeeded` and
    `TasksFolderUnreadable`, with messages for the operator.
    """
    store = _open_store(settings)  # first: a database that cannot be used is said before a long load
    try:
        keys = KeyRing(store, settings.read_admin_key())
        if keys.is_open and not settings.may_be_open:
            raise KeyNeeded(_KEY_NEEDED.format(host=settings.host))
        return _build_services(settings, store, keys)
    except BaseException:
        store.close()
        raise


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """A base model with its tokenizer and engine over an open store: what tuning and evaluation need of a server.

    `manifest` is how a new task's input becomes a prompt where nobody says otherwise. `end_token_id`, one of
    `eos_token_ids`, ends an answer; None of an encoder, which may lack one.
    `tuning_memory_bytes` bounds a run's memory; None is what the machine has left.
    """

    store: Store
    base: BaseModel
    base_id: str
    loaded: LoadedModel
    tokenizer: Tokenizer
    engine: TuningEngine
    eos_token_ids: Collection[int]
    end_token_id: int | None
    manifest: Manifest
    tuning_memory_bytes: int | None = None


@contextmanager
def open_workbench(settings: ServeSettings) -> Iterator[Workbench]:
    """Open the store and load the model, without a server. The engine is not started yet.

    Raises `ModelError`, `StoreError` and `TextError`, with messages for the operator.
    """
    with _open_store(settings) as store:
        origin = find_origin(settings)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        own = own_engine(settings, origin)
        base, tokenizer = own.loaded.base, own.loaded.tokenizer
        end = end_token_id(tokenizer, own.eos_token_ids)
        if end is None and base.kind is not BaseKind.ENCODER:
            raise TokenizerUnsupported("the base model has no end token, so nothing could learn where to stop")
        if origin.is_demo and base.fingerprint not in store.bases():
            publish_folder(store, base, TASKS_DIR, actor="demo")
        yield Workbench(
            store,
            base,
            origin.base_id,
            own.loaded.model,
            tokenizer,
            own.engine,
            own.eos_token_ids,
            end,
            _default_manifest(origin, tokenizer, base.kind),
            settings.tuning_memory_bytes,
        )


@contextmanager
def open_job_runner(settings: ServeSettings, owned_tasks: OwnedTasks) -> Iterator[tuple[Workbench, JobRunner]]:
    """Open the store, load the model, and put a runner of jobs together, without a server. Nothing runs yet.

    Raises what `open_workbench` raises.
    """
    with open_workbench(settings) as bench:
        engine, follower = bench.engine, StoreFollower(bench.store)
        tuned = TunedBase(
            bench.base, bench.base_id, bench.loaded, bench.tokenizer, bench.eos_token_ids, engine, engine, follower,
            owned_tasks,
        )  # fmt: skip
        runner = job_runner(settings, tuned, bench.store)
        assert runner is not None, "a workbench has an end token"
        yield bench, runner


def _build_services(settings: ServeSettings, store: Store, keys: KeyRing) -> Services:
    origin = find_origin(settings)
    metrics = Metrics(settings.max_task_metrics)
    tracing = _tracing(settings, origin.base_id)
    if settings.threads is not None or origin.is_demo:
        torch.set_num_threads(settings.threads or DEMO_THREADS)
    observers: list[EngineObserver] = [metrics.requests, *([tracing] if isinstance(tracing, OtelTracing) else [])]
    child = start_tuning_process(settings, origin)
    chosen = choose_engine(settings, origin, observers)
    if chosen.metrics_prefix:
        metrics.include(chosen.metrics_prefix)
    engine, base, tokenizer, eos_token_ids = chosen.engine, chosen.base, chosen.tokenizer, chosen.eos_token_ids
    if origin.is_demo and base.fingerprint not in store.bases():
        publish_folder(store, base, TASKS_DIR, actor="demo")
    follower = StoreFollower(store)
    catalog, folder = TaskCatalog(store, base, follower, chosen.heads), _publish_tasks(settings, store, base)
    limits = _api_limits(settings)
    api_settings = ApiSettings(limits, settings.cors_origins, is_local=not settings.insecure)
    quotas, overload = _build_quotas(settings), OverloadGuard(settings.max_wait_s, settings.max_num_seqs)
    base_names = frozenset((origin.base_id, *base.names))
    chat_defaults = sampling_defaults(chosen.generation_config)
    inference = Inference(
        engine,
        tokenizer,
        catalog,
        base_names,
        eos_token_ids,
        limits,
        quotas,
        overload,
        ShadowRuns(),
        chosen.constraints,
        chat_defaults,
        BaseFacts(base.kind, chosen.vector_size, chosen.heads.labels, chosen.heads.problem_type),
    )
    return Services(
        access=Access(keys, quotas, overload, engine, api_settings),
        inference=inference,
        store_access=StoreAccess(
            store, base, base_names, follower, limits, folder, _kept_runs(settings, base), base_embeddings(settings)
        ),
        base_id=origin.base_id,
        engine_name=chosen.name,
        device=chosen.device,
        weights=chosen.weights,
        settings=api_settings,
        jobs=build_tuner(TunerParts(settings, origin.base_id, store, follower, folder), chosen, child),
        no_jobs=chosen.no_tuning or NO_END_TOKEN,
        batches=BatchRunner(store, base.fingerprint, BatchLines.beside(inference, keys), _batch_options(settings)),
        captures=None if chosen.capturer is None else LiveCaptures(store, base, catalog, chosen.capturer),
        tuning_defaults=_tuning_defaults(settings, _default_manifest(origin, tokenizer, base.kind)),
        metrics=metrics,
        tracing=tracing,
        page={} if settings.no_page else read_files(PAGE),
    )


def _tuning_defaults(settings: ServeSettings, manifest: Manifest) -> TuningDefaults:
    return TuningDefaults(manifest, settings.tuning_micro_batch_tokens)


def _batch_options(settings: ServeSettings) -> BatchOptions:
    limits = InputLimits(settings.max_batch_lines, settings.max_body_bytes)
    return BatchOptions(limits, settings.batch_lines, takeover_s=settings.tuning_takeover_s)


def _kept_runs(settings: ServeSettings, base: BaseModel) -> KeptRuns | None:
    """The saved states of interrupted runs beside the database, which belong to its tasks."""
    return None if settings.database_url else KeptRuns(settings.data_dir.expanduser(), base.fingerprint)


def _build_quotas(settings: ServeSettings) -> Quotas:
    defaults = KeyLimits(settings.max_requests_per_minute, settings.max_tokens_per_minute, settings.max_concurrent)
    return Quotas(defaults, settings.redis_url)


def _api_limits(settings: ServeSettings) -> ApiLimits:
    """The limits of the HTTP interface: each setting with the name of a limit sets it."""
    given = {field.name: getattr(settings, field.name) for field in fields(ApiLimits) if hasattr(settings, field.name)}
    return ApiLimits(**given, max_file_bytes=settings.max_file_mib * MIB, max_unfinished_jobs=settings.max_tuning_jobs)


def _tracing(settings: ServeSettings, base_id: str) -> NoTracing | OtelTracing:
    if settings.otlp_endpoint is None:
        return NoTracing()
    return OtelTracing(otlp_provider(settings.otlp_endpoint, __version__), base_id)


def _publish_tasks(settings: ServeSettings, store: Store, base: BaseModel) -> TasksFolder | None:
    """Publish the operator's folder, if there is one, before the first request. Raises `TasksFolderUnreadable`."""
    if settings.tasks_dir is None:
        return None
    folder = TasksFolder(settings.tasks_dir.expanduser(), store, base, base_embeddings=base_embeddings(settings))
    try:
        folder.scan(at_once=True)
    except OSError as error:
        raise TasksFolderUnreadable(f"--tasks-dir {settings.tasks_dir} cannot be read: {error.strerror}") from error
    return folder


def _open_store(settings: ServeSettings) -> Store:
    if settings.database_url is None:
        try:
            settings.data_dir.expanduser().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the data folder {settings.data_dir} cannot be made: {error.strerror}") from error
    return Store.open(settings.store_url, max_tensor_bytes=settings.max_tensor_bytes)


def _default_manifest(origin: Origin, tokenizer: Tokenizer, kind: BaseKind) -> Manifest:
    """The form of a prompt for tuned versions: the demo's template, the base model's chat template, or a plain line.

    An encoder reads a text as it is.
    """
    if kind is not BaseKind.DECODER:
        return Manifest()
    if origin.is_demo:
        return Manifest(template=TEMPLATE, add_special_tokens=False)
    if tokenizer.chat_template is not None and tokenizer.chat_template.takes_an_input:
        return Manifest(chat_template=True)
    return Manifest(template="{input}\n")
