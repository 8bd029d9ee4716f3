"""Tuning without a model: a run whose state is a counter and a sum, and the runner of jobs around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prompts_store.checkpoint_records import BaseModel
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.jobs.preparer import JobPreparer
from server.jobs.publisher import JobPublisher
from server.jobs.runner import JobRunner, RunnerOptions
from server.jobs.training import Intervals
from server.store_follower import StoreFollower
from server.tuning.candidate import Candidate
from server.tuning.cost import Costs
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.events import Finished, StepDone, TuningEvent, Validated
from server.tuning.example_line import Example
from server.tuning.examples import ExampleLimits
from server.tuning.fit import Host
from server.tuning.job import TuningJob, TuningResult
from server.tuning.scores import Scores
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level

T = TypeVar("T")
PNG = b"\x89PNG fake"
COSTS = Costs(8, 8, 32, 2, 2, num_bytes=4, is_fused=False)
"""Of a base model as small as that of the fake checkpoints; a run may take 4 GiB."""


class FakeRun:
    """As many steps as the plan says; what it learns is the sum of its steps and its seed, kept in checkpoints."""

    def __init__(self, job: TuningJob, state: bytes | None, control: RunControl) -> None:
        self._job = job
        self._control = control
        self.num_steps = job.plan.num_steps or 5
        if state is not None and job.distillation is not None:
            state = unpack_state(state).run
        saved = {"step": 0, "sum": job.plan.seed} if state is None else json.loads(state)
        self.step, self._sum = saved["step"], saved["sum"]
        control.began_at.append(self.step)

    @property
    def is_done(self) -> bool:
        return self.step >= self.num_steps

    def advance(self) -> tuple[TuningEvent, ...]:
        self._control.on_step(self.step)
        self.step += 1
        self._sum += self.step
        done = StepDone(self.step, self.num_steps, self._control.loss(self.step), 0.1, 1.0, 0.01, 0.5, num_tokens=10)
        if not self.is_done:
            return (done,)
        return done, Validated(self.step, 0.1, 1.0, 1.0, True), Finished(self.step, "steps", self.step)

    def checkpoint(self) -> bytes:
        state = json.dumps({"step": self.step, "sum": self._sum}).encode()
        if self._job.distillation is None:
            return state
        return pack_state(DistillationState(self._job.answers, state))

    def result(self) -> TuningResult:
        assert self.is_done
        files = prompt_tuning_files(seed=self._sum, num_virtual_tokens=self._job.plan.num_virtual_tokens)
        metrics = {"loss": 0.1}
        return TuningResult(files["adapter_config"], files["adapter_model"], metrics, (), self.step)


@dataclass
class RunControl:
    """What a test does to runs: `on_step` is called before each, on the thread of the pieces; `scores` by name."""

    on_step: Callable[[int], None] = lambda step: None
    loss: Callable[[int], float] = lambda step: 1 / step
    began_at: list[int] = field(default_factory=list)
    score: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)
    on_evaluate: Callable[[str], object] = lambda name: None
    owned_tasks: tuple[str, ...] = ()

    def build(self, job: TuningJob, state: bytes | None) -> FakeRun:
        return FakeRun(job, state, self)

    async def evaluate(self, engine: object, tokenizer: object, candidate: Candidate, *args: Any, **_: Any) -> Scores:
        self.on_evaluate(candidate.name)
        examples: Sequence[Example] = args[0]
        score = self.scores.get(candidate.name, self.score)
        return Scores(candidate.name, len(examples), score, None, None, 1.5)


class ThreadPieces:
    """A thread that pieces run on, one at a time, as the engine's."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def between_steps(self, piece: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, piece)


def fake_runner(
    store: Store,
    base: BaseModel,
    follower: StoreFollower,
    control: RunControl,
    engine: Any = None,
    **options: Any,
) -> JobRunner:
    """The real runner over fake runs. Without an `engine` it can ask no teacher."""
    tuning, tokenizer = TuningStore(store), byte_level()
    intervals = Intervals(options.pop("heartbeat_s", 0.02), options.pop("checkpoint_s", 0.0))
    assert tokenizer.eos_token_id is not None
    host = options.pop("host", None) or Host(
        ScriptedEngine(lambda *_: (), frozenset()), base, COSTS, 4 << 30, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES
    )
    return JobRunner(
        tuning,
        JobPreparer(
            tuning,
            base.names[0],
            tokenizer,
            tokenizer.eos_token_id,
            ExampleLimits(),
            host,
            lambda: control.owned_tasks,
        ),
        JobPublisher(
            store,
            tuning,
            base,
            engine,
            tokenizer,
            follower,
            lambda _: PNG,
            lambda: control.owned_tasks,
            control.evaluate,  # type: ignore[arg-type]
            retry_s=0.01,
        ),
        pieces=ThreadPieces(),
        build=control.build,
        options=RunnerOptions(intervals, **{"poll_interval_s": 0.02, **options}),
    )
