"""The runner of tuning jobs, put together for one base model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from prompts_store.records import BaseModel
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.answering.label_scores import end_token_id
from server.engine.async_engine import AsyncEngine
from server.jobs.conclusion import Conclusion
from server.jobs.examples import Preparation
from server.jobs.runner import JobRunner, RunnerOptions
from server.jobs.training import Run
from server.model.base_model import LoadedModel
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.tasks_folder import TasksFolder
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import ExampleLimits
from server.tuning.fit import host_of
from server.tuning.plot import draw_plot
from server.tuning.run import TuningJob, TuningRun


@dataclass(frozen=True, slots=True)
class RunBounds:
    """What one piece of a run may take at most before the server ends itself, in seconds, and what a run may take of
    memory, in bytes; None is what there is."""

    max_piece_s: float
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TunedBase:
    """The base model that jobs tune for, and what serves it. `base_id` is its public name.

    `folder` publishes tasks of its own, which jobs leave alone.
    """

    base: BaseModel
    base_id: str
    loaded: LoadedModel
    tokenizer: Tokenizer
    eos_token_ids: Collection[int]
    engine: AsyncEngine
    catalog: TaskCatalog
    folder: TasksFolder | None

    def owned_tasks(self) -> Collection[str]:
        """The tasks that the folder publishes now."""
        return () if self.folder is None else self.folder.tasks


def build_job_runner(
    tuned: TunedBase, store: Store, options: RunnerOptions, limits: ExampleLimits, bounds: RunBounds
) -> JobRunner | None:
    """A runner, or None for a base model without an end token: nothing could learn where to stop."""
    end = end_token_id(tuned.tokenizer, tuned.eos_token_ids)
    if end is None:
        return None
    tuning = TuningStore(store)
    host = host_of(tuned.engine, tuned.base, tuned.loaded, bounds.memory_bytes, max_tensor_bytes=store.max_tensor_bytes)
    return JobRunner(
        tuning,
        Preparation(tuning, tuned.base_id, tuned.tokenizer, end, limits, host, tuned.owned_tasks),
        Conclusion(
            store, tuning, tuned.base, tuned.engine, tuned.tokenizer, tuned.catalog, draw_plot, tuned.owned_tasks
        ),
        pieces=tuned.engine,
        build=partial(_build_run, tuned.loaded, tuned.tokenizer, bounds.max_piece_s),
        options=options,
    )


def _build_run(
    loaded: LoadedModel, tokenizer: Tokenizer, max_piece_s: float, job: TuningJob, state: bytes | None
) -> Run:
    return TuningRun(loaded, tokenizer, job, state, max_piece_s=max_piece_s)
