"""Assembly of the runner of tuning jobs, for one base model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from prompts_store.checkpoint_records import BaseKind, BaseModel
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.answering.label_scores import end_token_id
from server.engine.client import EngineClient, PieceRunner
from server.jobs.failures import OwnedTasks
from server.jobs.preparer import JobPreparer
from server.jobs.publisher import JobPublisher
from server.jobs.runner import JobRunner, RunnerOptions
from server.jobs.training import Run
from server.model.base_model import LoadedModel
from server.store_follower import StoreFollower
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.examples import ExampleLimits
from server.tuning.fit import host_of
from server.tuning.heads import heads_of
from server.tuning.job import TuningJob
from server.tuning.plot import draw_plot
from server.tuning.run import TuningRun


@dataclass(frozen=True, slots=True)
class RunBounds:
    """Limits of a run: seconds per piece, after which the server ends itself, and bytes of memory.

    With `memory_bytes` None, a run may take the memory that the machine has left.
    """

    max_piece_s: float
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TunedBase:
    """Base model that jobs tune, with its engine and the store's follower. `base_id` is its public name.

    `pieces` runs training on the engine's device. Evaluations are requests of the server's own. Jobs never publish to
    `owned_tasks`.
    """

    base: BaseModel
    base_id: str
    loaded: LoadedModel
    tokenizer: Tokenizer
    eos_token_ids: Collection[int]
    engine: EngineClient
    pieces: PieceRunner
    follower: StoreFollower
    owned_tasks: OwnedTasks


def build_job_runner(
    tuned: TunedBase, store: Store, options: RunnerOptions, limits: ExampleLimits, bounds: RunBounds
) -> JobRunner | None:
    """The runner, or None for a base model that writes without an end token: no answer could learn where to stop."""
    end = end_token_id(tuned.tokenizer, tuned.eos_token_ids)
    if end is None and tuned.base.kind is not BaseKind.ENCODER:
        return None
    tuning = TuningStore(store)
    host = host_of(tuned.engine, tuned.base, tuned.loaded, bounds.memory_bytes, max_tensor_bytes=store.max_tensor_bytes)
    return JobRunner(
        tuning,
        JobPreparer(tuning, tuned.base_id, tuned.tokenizer, end, limits, host, tuned.owned_tasks),
        JobPublisher(
            store,
            tuning,
            tuned.base,
            tuned.engine.unobserved,
            tuned.tokenizer,
            tuned.follower,
            draw_plot,
            tuned.owned_tasks,
        ),
        pieces=tuned.pieces,
        build=partial(_build_run, tuned, bounds),
        options=options,
    )


def _build_run(tuned: TunedBase, bounds: RunBounds, job: TuningJob, state: bytes | None) -> Run:
    return TuningRun(
        tuned.loaded,
        tuned.tokenizer,
        job,
        state,
        max_piece_s=bounds.max_piece_s,
        memory_bytes=bounds.memory_bytes,
        heads=heads_of(tuned.base),
    )
