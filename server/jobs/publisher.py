"""Publish a finished run: score it through the serving path, publish the version, and promote it if its gate passes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from prompts_store.checkpoint_records import BaseKind, BaseModel, ParsedCheckpoint
from prompts_store.errors import StoreError, StoreUnavailable
from prompts_store.records import Published
from prompts_store.store import Store
from prompts_store.tuning_records import JobClaim, JobOutcome, JobRecord, NewEvent
from prompts_store.tuning_store import TuningStore
from server.engine.client import RequestRunner
from server.jobs.candidates import load_rival
from server.jobs.claim_heartbeat import ClaimHeartbeat
from server.jobs.event_texts import judgement_events
from server.jobs.failures import OwnedTasks, task_owned
from server.jobs.request import request_from_json
from server.store_follower import StoreFollower
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import Candidate
from server.tuning.errors import PlotsUnavailable
from server.tuning.evaluation import evaluate
from server.tuning.events import TuningEvent
from server.tuning.job import TuningJob, TuningResult
from server.tuning.judgement import Aim, judge_result
from server.tuning.scores import Scores

DrawPlot = Callable[[Sequence[TuningEvent]], bytes]
Evaluate = Callable[..., Awaitable[Scores]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """A run that has ended, with its job. `num_tokens` is the number of tokens that it trained on."""

    claim: JobClaim
    record: JobRecord
    job: TuningJob
    result: TuningResult
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class JobPublisher:
    """Judges, publishes and promotes the results of one base model's jobs.

    While the store cannot be reached, publishing is repeated every `retry_s`.
    """

    store: Store
    tuning: TuningStore
    base: BaseModel
    engine: RequestRunner
    tokenizer: Tokenizer
    follower: StoreFollower
    draw_plot: DrawPlot
    owned_tasks: OwnedTasks
    evaluate: Evaluate = evaluate
    retry_s: float = 2.0

    async def publish(self, finished: FinishedRun, heartbeat: ClaimHeartbeat) -> Published:
        """Judge, publish and promote a result. After the return this server serves the version.

        Raises ClaimLost, TaskTaken, and what `judge_result` and `TuningStore.complete_job` raise.
        """
        record, job, result = finished.record, finished.job, finished.result
        if record.task in self.owned_tasks():
            raise task_owned()
        request = request_from_json(record.request)
        aim = Aim(record.task, request.promote, request.gate)
        rival = await asyncio.to_thread(load_rival, self.store, self.base, aim)
        score = partial(self._scores, job=job, heartbeat=heartbeat)
        limit = self.store.max_tensor_bytes
        judged = await judge_result(self.base, aim, rival, job, result, score, max_tensor_bytes=limit)
        heartbeat.queue(judgement_events(judged))
        plot = await self._plot(result, heartbeat)
        outcome = JobOutcome(judged.manifest, judged.promotion, finished.num_tokens, judged.manifest.metrics, plot)
        published = await self._complete(finished, judged.checkpoint, outcome, heartbeat)
        await self._refresh()
        return published

    async def _scores(self, candidate: Candidate, *, job: TuningJob, heartbeat: ClaimHeartbeat) -> Scores:
        heartbeat.check()
        return await self.evaluate(
            self.engine,
            self.tokenizer,
            candidate,
            job.data.validation,
            end_token_id=job.end_token_id,
            labels=candidate.manifest.labels,
            has_encoder=self.base.kind is BaseKind.ENCODER_DECODER,
            on_progress=lambda _: heartbeat.check(),
        )

    async def _plot(self, result: TuningResult, heartbeat: ClaimHeartbeat) -> bytes | None:
        try:
            return await asyncio.to_thread(self.draw_plot, result.history)
        except PlotsUnavailable as error:
            heartbeat.queue([NewEvent(f"There is no plot: {error}.", level="warn")])
            return None

    async def _complete(
        self, finished: FinishedRun, checkpoint: ParsedCheckpoint, outcome: JobOutcome, heartbeat: ClaimHeartbeat
    ) -> Published:
        """Publish the version and end the job. Repeat this while the store cannot be reached."""
        while True:
            try:
                async with heartbeat.queued_events() as events:
                    return await asyncio.to_thread(self._write, finished, checkpoint, outcome, events)
            except StoreUnavailable:
                await asyncio.sleep(self.retry_s)

    def _write(
        self, finished: FinishedRun, checkpoint: ParsedCheckpoint, outcome: JobOutcome, events: Sequence[NewEvent]
    ) -> Published:
        record = finished.record
        return self.tuning.complete_job(
            finished.claim, record.task, checkpoint, outcome, events, actor=record.created_by
        )

    async def _refresh(self) -> None:
        try:
            await self.follower.refresh()
        except StoreError:  # the follower reads it again later
            _log.warning("the changes of the store cannot be read now", exc_info=True)
