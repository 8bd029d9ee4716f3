"""Runner of tuning jobs: it validates, runs and takes over the jobs of one base model.

One job runs at a time; files of other jobs are validated meanwhile. All methods belong to the event loop. SQL and the
reading of files run in threads, the training on the engine's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import JobClaim, JobRecord, JobStatus
from prompts_store.tuning_store import TuningStore
from server.background_task import background_task
from server.engine.client import PieceRunner
from server.jobs.answering import Answering
from server.jobs.claim_heartbeat import ClaimHeartbeat
from server.jobs.held_job import HeldJob
from server.jobs.preparer import JobPreparer
from server.jobs.publisher import FinishedRun, JobPublisher
from server.jobs.takeover import TakeOver
from server.jobs.training import BuildRun, Intervals, Training, TrainingTotals
from server.queue_worker import StepLoops, claim_or_release, worker_name
from server.telemetry.state_metrics import TuningStats
from server.threads import Threads
from server.tuning.fit import Host

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """Times of the runner, in seconds.

    The runner asks the store for jobs every `poll_interval_s`. It takes over a job whose server has not beaten for
    `takeover_s` by `clock`. At a shutdown it waits at most `leave_timeout_s` for the piece that runs. `owner` names
    this server.
    """

    intervals: Intervals = field(default_factory=Intervals)
    poll_interval_s: float = 1.0
    takeover_s: float = 10.0
    leave_timeout_s: float = 10.0
    owner: str = field(default_factory=worker_name)
    clock: Callable[[], float] = time.monotonic


class JobRunner:
    """Implements `Tuner`: works on the jobs of one base model."""

    def __init__(
        self,
        tuning: TuningStore,
        preparer: JobPreparer,
        publisher: JobPublisher,
        pieces: PieceRunner,
        build: BuildRun,
        options: RunnerOptions,
    ) -> None:
        self._tuning = tuning
        self._preparer = preparer
        self._publisher = publisher
        self._pieces = pieces
        self._build = build
        self._options = options
        self._fingerprint = preparer.host.base.fingerprint
        self._threads = Threads("tuning-jobs", 4)
        self._heartbeats: dict[JobClaim, ClaimHeartbeat] = {}
        self._take_over = TakeOver(tuning, self._threads, self._fingerprint, options.takeover_s, options.clock)
        self._working: Counter[JobStatus] = Counter()
        self._ended: Counter[JobStatus] = Counter()
        self._training: Training | None = None
        self._totals = TrainingTotals()
        self._loops = StepLoops("tuning jobs", options.poll_interval_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the context is open. A job that runs when it closes is saved and given back."""
        try:
            steps = {"validate": self._validate_next, "run": self._run_next, "take-over": self._release_stale}
            async with background_task(self._loops.run(steps), "tuning"):
                yield
        finally:
            self._threads.close()

    @property
    def stats(self) -> TuningStats:
        """Jobs that this server works on, and totals since it started."""
        training = self._training
        return TuningStats(
            num_validating=self._working[JobStatus.VALIDATING_FILES],
            num_running=self._working[JobStatus.RUNNING],
            step=0 if training is None else training.step,
            num_steps=0 if training is None else training.num_steps,
            num_steps_done=self._totals.num_steps,
            busy_s=self._totals.busy_s,
            num_succeeded=self._ended[JobStatus.SUCCEEDED],
            num_failed=self._ended[JobStatus.FAILED],
            num_cancelled=self._ended[JobStatus.CANCELLED],
        )

    @property
    def host(self) -> Host:
        """Limits that a job must fit into."""
        return self._preparer.host

    @property
    def preparer(self) -> JobPreparer:
        """Reads examples as this server's jobs do."""
        return self._preparer

    @property
    def problem(self) -> str | None:
        """See `Tuner`: the engine's end is the server's, so nothing keeps this one from its jobs."""
        return None

    def nudge(self) -> None:
        """Read the store now, because a job was created or its status was changed."""
        self._loops.wake()
        for heartbeat in self._heartbeats.values():
            heartbeat.beat_soon()

    # --- the three steps ----------------------------------------------------------------------------------------------

    async def _validate_next(self) -> bool:
        found = await self._claim(JobStatus.VALIDATING_FILES)
        if found is None:
            return False
        claim, record = found
        async with self._held(claim, JobStatus.VALIDATING_FILES) as held:
            try:
                async with held.ending_on_error():
                    prepared = await self._threads.run(self._preparer.prepare, record)
                    await self._threads.run(self._tuning.mark_valid, claim, prepared.events)
                    self.nudge()
            except ClaimLost:
                pass  # cancelled meanwhile
            except asyncio.CancelledError:
                await asyncio.shield(held.leave(None))
                raise
        return True

    async def _run_next(self) -> bool:
        found = await self._claim(JobStatus.QUEUED)
        if found is None:
            return False
        claim, record = found
        async with self._held(claim, JobStatus.RUNNING) as held:
            checkpoint_s, heartbeat = self._options.intervals.checkpoint_s, held.heartbeat
            training = Training(self._tuning, claim, self._pieces, heartbeat, checkpoint_s, self._totals, self._threads)
            self._training = training
            try:
                async with held.ending_on_error():
                    await self._run(claim, record, training, heartbeat)
            except ClaimLost as lost:
                if lost.status in (JobStatus.PAUSED, JobStatus.QUEUED, JobStatus.FAILED):  # its task was deleted
                    with suppress(ClaimLost):
                        await training.save()
            except asyncio.CancelledError:
                await asyncio.shield(held.leave(training))
                raise
            finally:
                self._training = None
        return True

    async def _release_stale(self) -> bool:
        async for status in self._take_over.release_stale(self._heartbeats):
            if status is JobStatus.FAILED:
                self._ended[JobStatus.FAILED] += 1
            else:
                self.nudge()
        return False

    # --- one job ------------------------------------------------------------------------------------------------------

    async def _run(self, claim: JobClaim, record: JobRecord, training: Training, heartbeat: ClaimHeartbeat) -> None:
        prepared = await self._threads.run(self._preparer.prepare, record)
        job = prepared.job
        if job.distillation is not None:
            engine, tokenizer, threads = self._publisher.engine, self._publisher.tokenizer, self._threads
            checkpoint_s = self._options.intervals.checkpoint_s
            answering = Answering(self._tuning, claim, engine, tokenizer, self.host, heartbeat, checkpoint_s, threads)
            job = await answering.complete(job)
        result = await training.train(self._build, job)
        finished = FinishedRun(claim, record, job, result, training.num_tokens)
        published = await self._publisher.publish(finished, heartbeat)
        self._ended[JobStatus.SUCCEEDED] += 1
        _log.info("tuning job %d published %s@%d", record.id, record.task, published.version.version)

    async def _claim(self, status: JobStatus) -> tuple[JobClaim, JobRecord] | None:
        claim = partial(self._tuning.claim_job, self._fingerprint, status, self._options.owner)
        return await claim_or_release(self._threads, claim, self._tuning.release_job, self._options.leave_timeout_s)

    @asynccontextmanager
    async def _held(self, claim: JobClaim, status: JobStatus) -> AsyncIterator[HeldJob]:
        """Beat for a claimed job while the context is open."""
        heartbeat = ClaimHeartbeat(self._tuning, claim, self._options.intervals.heartbeat_s)
        self._heartbeats[claim] = heartbeat
        self._working[status] += 1
        retry_s, leave_timeout_s = self._options.poll_interval_s, self._options.leave_timeout_s
        held = HeldJob(self._tuning, claim, heartbeat, self._threads, self._ended, retry_s, leave_timeout_s)
        try:
            async with heartbeat.beating():
                yield held
        finally:
            del self._heartbeats[claim]
            self._working[status] -= 1
