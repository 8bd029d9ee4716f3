"""What comes of a finished run: judged through the serving path, published, and promoted where its gate opens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from prompts_store.errors import StoreError, StoreUnavailable
from prompts_store.records import BaseModel, ParsedCheckpoint, Published
from prompts_store.store import Store
from prompts_store.tuning_records import JobClaim, JobOutcome, JobRecord, NewEvent
from prompts_store.tuning_store import TuningStore
from server.engine.client import EngineClient
from server.jobs.failures import OwnedTasks, task_owned
from server.jobs.request import request_from_json
from server.jobs.training import Heart
from server.soft_prompts.catalog import TaskCatalog
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.errors import PlotsUnavailable
from server.tuning.evaluation import Candidate, evaluate
from server.tuning.events import TuningEvent
from server.tuning.judgement import Aim, Judgement, judge_result, metrics_of
from server.tuning.run import TuningJob, TuningResult
from server.tuning.scores import Scores, Unscored

DrawPlot = Callable[[Sequence[TuningEvent]], bytes]
Evaluate = Callable[..., Awaitable[Scores]]

_RETRY_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A run that has ended. `num_tokens` went through the model."""

    claim: JobClaim
    record: JobRecord
    job: TuningJob
    result: TuningResult
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """Ends jobs of one base model."""

    store: Store
    tuning: TuningStore
    base: BaseModel
    engine: EngineClient
    tokenizer: Tokenizer
    catalog: TaskCatalog
    draw_plot: DrawPlot
    owned_tasks: OwnedTasks
    evaluate: Evaluate = evaluate

    async def conclude(self, finished: Finished, heart: Heart) -> Published:
        """Judge, publish and promote; once it returns, this server answers by the version.

        Raises ClaimLost, TaskTaken, and what judgement and publication raise.
        """
        record, job, result = finished.record, finished.job, finished.result
        if record.task in self.owned_tasks():
            raise task_owned()
        request = request_from_json(record.request)
        aim = Aim(record.task, request.promote, request.gate)
        score = partial(self._scores, job=job, heart=heart)
        judged = await judge_result(self.store, self.base, aim, job, result, score)
        heart.tell(_events_of(judged))
        plot = await self._plot(result, heart)
        outcome = JobOutcome(judged.manifest, judged.promotion, finished.num_tokens, judged.manifest.metrics, plot)
        published = await self._publish(finished, judged.checkpoint, outcome, heart)
        await self._refresh()
        return published

    async def _scores(self, candidate: Candidate, *, job: TuningJob, heart: Heart) -> Scores:
        heart.check()
        return await self.evaluate(
            self.engine,
            self.tokenizer,
            candidate,
            job.data.validation,
            end_token_id=job.end_token_id,
            labels=candidate.manifest.labels,
            on_progress=lambda _: heart.check(),
        )

    async def _plot(self, result: TuningResult, heart: Heart) -> bytes | None:
        try:
            return await asyncio.to_thread(self.draw_plot, result.history)
        except PlotsUnavailable as error:
            heart.tell([NewEvent(f"There is no plot: {error}.", level="warn")])
            return None

    async def _publish(
        self, finished: Finished, checkpoint: ParsedCheckpoint, outcome: JobOutcome, heart: Heart
    ) -> Published:
        """Publish; while the store is away, wait for it: all that was learnt is here alone."""
        while True:
            try:
                async with heart.telling() as events:
                    return await asyncio.to_thread(self._write, finished, checkpoint, outcome, events)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)

    def _write(
        self, finished: Finished, checkpoint: ParsedCheckpoint, outcome: JobOutcome, events: Sequence[NewEvent]
    ) -> Published:
        record = finished.record
        return self.tuning.complete_job(
            finished.claim, record.task, checkpoint, outcome, events, actor=record.created_by
        )

    async def _refresh(self) -> None:
        try:
            await self.catalog.refresh()
        except StoreError:  # the follower takes it over later
            _log.warning("the catalog of tasks cannot be read again now", exc_info=True)


def _events_of(judged: Judgement) -> list[NewEvent]:
    if isinstance(judged.scores, Unscored):
        why = f"There are no scores: {judged.scores.reason}. The version is published, and not promoted."
        events = [NewEvent(why, level="warn", data=metrics_of(judged.scores))]
    else:
        events = [NewEvent("The held-out examples were answered.", kind="metrics", data=metrics_of(judged.scores))]
    if isinstance(judged.production, Unscored):
        events.append(NewEvent(f"{judged.production.name} has no scores: {judged.production.reason}.", level="warn"))
    if (verdict := judged.verdict) is not None:
        opened = "opened" if verdict.passed else "stayed shut"
        data = {"gate_passed": verdict.passed, "gate_reason": verdict.reason}
        level = "info" if verdict.passed else "warn"
        events.append(NewEvent(f"The gate {opened}: {verdict.reason}.", level=level, data=data))
    return events
