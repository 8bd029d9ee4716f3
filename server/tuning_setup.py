"""What works on tuning jobs, as the settings describe it: this process's engine, or a second process beside vLLM's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prompts_store.checkpoint_records import BaseKind
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.answering.label_scores import end_token_id
from server.api.limits import MIB
from server.base_model_source import Origin
from server.engine_choice import ChosenEngine
from server.jobs.assembly import RunBounds, TunedBase, build_job_runner
from server.jobs.preparer import JobPreparer
from server.jobs.process.child import TuningChild, TuningCommand, environment_of_child
from server.jobs.process.tuner import ProcessTuner
from server.jobs.runner import JobRunner, RunnerOptions
from server.jobs.training import Intervals
from server.jobs.tuner import Tuner
from server.settings import ServeSettings
from server.soft_prompts.tasks_folder import TasksFolder
from server.store_follower import StoreFollower
from server.tuning.cost import Costs
from server.tuning.examples import ExampleLimits
from server.tuning.fit import Host

DEMO_THREADS = 1
"""Threads for the demo's matrices, which are too small to gain from more."""

_SHARED = {
    "base_model",
    "revision",
    "base_names",
    "dtype",
    "threads",
    "data_dir",
    "database_url",
    "max_context",
    "max_file_mib",
    "max_messages",
    "max_tensor_bytes",
    "tuning_micro_batch_tokens",
    "tuning_memory_gib",
    "tuning_checkpoint_s",
    "tuning_takeover_s",
    "engine_timeout_s",
    "log_level",
    "log_format",
}
"""Settings that the tuning process has as its server has them."""

_OF_THE_PROCESS = {
    "max_prefix_share": 0.9,  # it serves nothing but evaluations
}
_CUDA_CACHE_GIB = 4.0
"""KV cache for evaluations on a GPU, whose other memory is for training. On a CPU it is as large as any server's."""


def start_tuning_process(settings: ServeSettings, origin: Origin) -> TuningChild | None:
    """The tuning process, which loads nothing yet; None without one. Raises `TuningProcessFailed`.

    It is started before vLLM, which takes long and changes the environment.
    """
    return None if settings.tuning_python is None else TuningChild(tuning_command(settings, origin))


def tuning_command(settings: ServeSettings, origin: Origin) -> TuningCommand:
    """How the tuning process is started."""
    assert settings.tuning_python is not None
    values = settings.model_dump(mode="json", include=_SHARED) | _OF_THE_PROCESS
    values["device"] = settings.tuning_device
    if settings.tuning_device != "cpu":
        values["kv_cache_gib"] = _CUDA_CACHE_GIB
    if settings.threads is None and origin.is_demo:
        values["threads"] = DEMO_THREADS
    return TuningCommand(settings.tuning_python.expanduser(), environment_of_child(), values)


@dataclass(frozen=True, slots=True, eq=False)
class TunerParts:
    """The parts of a server that a tuner shares."""

    settings: ServeSettings
    base_id: str
    store: Store
    follower: StoreFollower
    folder: TasksFolder | None

    def owned_tasks(self) -> Collection[str]:
        """Tasks that the folder publishes now."""
        return () if self.folder is None else self.folder.tasks


def build_tuner(parts: TunerParts, chosen: ChosenEngine, child: TuningChild | None) -> Tuner | None:
    """What works on jobs; None where `chosen.no_tuning` says why, or the base model has no end token.

    Raises `TuningProcessFailed`.
    """
    if chosen.tuning is not None:
        tuned = TunedBase(
            chosen.base,
            parts.base_id,
            chosen.tuning.loaded,
            chosen.tokenizer,
            chosen.eos_token_ids,
            chosen.engine,
            chosen.tuning.pieces,
            parts.follower,
            parts.owned_tasks,
        )
        return job_runner(parts.settings, tuned, parts.store)
    return None if child is None else _process_tuner(parts, chosen, child)


def job_runner(settings: ServeSettings, tuned: TunedBase, store: Store) -> JobRunner | None:
    """The runner of jobs in this process: see `build_job_runner`."""
    options = RunnerOptions(Intervals(checkpoint_s=settings.tuning_checkpoint_s), takeover_s=settings.tuning_takeover_s)
    bounds = RunBounds(settings.engine_timeout_s, settings.tuning_memory_bytes)
    return build_job_runner(tuned, store, options, _example_limits(settings), bounds)


def _process_tuner(parts: TunerParts, chosen: ChosenEngine, child: TuningChild) -> ProcessTuner | None:
    settings, store, base = parts.settings, parts.store, chosen.base
    end = end_token_id(chosen.tokenizer, chosen.eos_token_ids)
    if end is None and base.kind is not BaseKind.ENCODER:
        child.end()
        return None
    costs = child.prove(base.fingerprint).costs
    host = Host(
        chosen.engine,
        base,
        None if costs is None else Costs(**costs),
        settings.tuning_memory_bytes,
        max_tensor_bytes=store.max_tensor_bytes,
    )
    preparer = JobPreparer(
        TuningStore(store),
        parts.base_id,
        chosen.tokenizer,
        end,
        _example_limits(settings),
        host,
        parts.owned_tasks,
    )
    return ProcessTuner(child, preparer, parts.owned_tasks)


def _example_limits(settings: ServeSettings) -> ExampleLimits:
    """The limits of a file: no conversation may be longer than the server would answer."""
    return ExampleLimits(max_bytes=settings.max_file_mib * MIB, max_messages=settings.max_messages)
