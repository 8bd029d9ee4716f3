"""Which job is next, and what becomes of those that another server has left behind.

One job runs at a time; files of others are validated meanwhile. All methods belong to the event loop; SQL and reading
of files run in threads, and the run itself on the engine's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from prompts_store.errors import StoreUnavailable
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import Heartbeat, JobClaim, JobRecord, JobStatus
from prompts_store.tuning_store import TuningStore
from server.background_task import background_task
from server.engine.background import PieceRunner
from server.engine.errors import EngineStopped
from server.jobs.conclusion import Conclusion, Finished
from server.jobs.examples import Preparation
from server.jobs.failures import job_error, stops_servers
from server.jobs.tally import Tally
from server.jobs.training import BuildRun, Heart, Pace, Training
from server.telemetry.state_metrics import TuningStats
from server.threads import Threads
from server.tuning.errors import TuningDiverged
from server.tuning.fit import Host

_LEAVE_TIMEOUT_S = 10.0
_RELEASE_TIMEOUT_S = 2.0
_log = logging.getLogger(__name__)


def _this_server() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """`poll_interval_s` is how often the store is asked for jobs, `takeover_s` how long a claimant may be silent."""

    pace: Pace = field(default_factory=Pace)
    poll_interval_s: float = 1.0
    takeover_s: float = 10.0
    owner: str = field(default_factory=_this_server)


class JobRunner:
    """Works on the jobs of one base model."""

    def __init__(
        self,
        tuning: TuningStore,
        preparation: Preparation,
        conclusion: Conclusion,
        pieces: PieceRunner,
        build: BuildRun,
        options: RunnerOptions,
    ) -> None:
        self._tuning = tuning
        self._preparation = preparation
        self._conclusion = conclusion
        self._pieces = pieces
        self._build = build
        self._options = options
        self._fingerprint = preparation.host.base.fingerprint
        self._threads = Threads("tuning-jobs", 4)
        self._hearts: dict[JobClaim, Heart] = {}
        self._working: Counter[JobStatus] = Counter()
        self._training: Training | None = None
        self._tally = Tally()
        self._silent_since: dict[Heartbeat, float] = {}
        self._wakers: set[asyncio.Event] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the context is open. A job that runs when it closes is saved and given back."""
        try:
            async with background_task(self._work(), "tuning"):
                yield
        finally:
            self._threads.close()

    @property
    def stats(self) -> TuningStats:
        """What this server works on, and what came of it so far."""
        ended, training = self._tally.ended, self._training
        return TuningStats(
            num_validating=self._working[JobStatus.VALIDATING_FILES],
            num_running=self._working[JobStatus.RUNNING],
            step=0 if training is None else training.step,
            num_steps=0 if training is None else training.num_steps,
            num_steps_done=self._tally.num_steps,
            busy_s=self._tally.busy_s,
            num_succeeded=ended[JobStatus.SUCCEEDED],
            num_failed=ended[JobStatus.FAILED],
            num_cancelled=ended[JobStatus.CANCELLED],
        )

    @property
    def host(self) -> Host:
        """What a job must fit into."""
        return self._preparation.host

    def nudge(self) -> None:
        """Look at once: a job was made, or something was done to one."""
        for waker in self._wakers:
            waker.set()
        for heart in self._hearts.values():
            heart.beat_soon()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for step in (self._validate_next, self._run_next, self._take_over):
                group.create_task(self._again_and_again(step), name=f"tuning-{step.__name__.strip('_')}")

    async def _again_and_again(self, step: Callable[[], Awaitable[bool]]) -> None:
        """Do one step after another, with a pause where there was nothing to do, or no store to do it in."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        while True:
            try:
                did_something = await step()
            except StoreUnavailable:
                did_something = False
            except Exception:  # the edge of the runner: whatever one job met, the next one is looked for
                _log.exception("the runner of tuning jobs stumbled")
                did_something = False
            if not did_something:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._options.poll_interval_s):
                        await waker.wait()
            waker.clear()

    # --- the three steps ----------------------------------------------------------------------------------------------

    async def _validate_next(self) -> bool:
        found = await self._claim(JobStatus.VALIDATING_FILES)
        if found is None:
            return False
        claim, record = found
        async with self._heart(claim, JobStatus.VALIDATING_FILES) as heart:
            try:
                async with self._ends_well(claim, heart):
                    prepared = await self._threads.run(self._preparation.prepare, record)
                    await self._threads.run(self._tuning.mark_valid, claim, prepared.notes)
                    self.nudge()
            except ClaimLost:
                pass  # cancelled meanwhile
            except asyncio.CancelledError:
                await asyncio.shield(self._leave(claim, None, heart))
                raise
        return True

    async def _run_next(self) -> bool:
        found = await self._claim(JobStatus.QUEUED)
        if found is None:
            return False
        claim, record = found
        async with self._heart(claim, JobStatus.RUNNING) as heart:
            pace, tally = self._options.pace, self._tally
            training = Training(self._tuning, claim, self._pieces, heart, pace, tally, self._threads)
            self._training = training
            try:
                async with self._ends_well(claim, heart):
                    await self._run(claim, record, training, heart)
            except ClaimLost as lost:
                if lost.status in (JobStatus.PAUSED, JobStatus.QUEUED, JobStatus.FAILED):  # its task was deleted
                    with suppress(ClaimLost):
                        await training.save()
            except asyncio.CancelledError:
                await asyncio.shield(self._leave(claim, training, heart))
                raise
            finally:
                self._training = None
        return True

    async def _take_over(self) -> bool:
        """Let jobs go whose claimant's count has stood still, by this server's clock, for too long.

        While the store is away nobody can beat: once it is back, silence counts anew.
        """
        now = time.monotonic()
        silent_since, self._silent_since = self._silent_since, {}
        beats = await self._threads.run(self._tuning.heartbeats, self._fingerprint)
        others = [beat for beat in beats if beat.claim not in self._hearts]
        silent_since = {beat: silent_since.get(beat, now) for beat in others}
        for beat, since in silent_since.items():
            if now - since > self._options.takeover_s:
                await self._take_one_over(beat)
        self._silent_since = silent_since
        return False

    async def _take_one_over(self, beat: Heartbeat) -> None:
        status = await self._threads.run(self._tuning.take_over, beat, stops_servers(beat.status))
        if status is JobStatus.FAILED:
            _log.error("tuning job %d stopped one server after another; it has failed", beat.claim.job_id)
            self._tally.ended[JobStatus.FAILED] += 1
        elif status is not None:
            _log.warning("tuning job %d was left behind; it goes on", beat.claim.job_id)
            self.nudge()

    # --- one job ------------------------------------------------------------------------------------------------------

    async def _run(self, claim: JobClaim, record: JobRecord, training: Training, heart: Heart) -> None:
        prepared = await self._threads.run(self._preparation.prepare, record)
        result = await training.train(self._build, prepared.job)
        finished = Finished(claim, record, prepared.job, result, training.num_tokens)
        published = await self._conclusion.conclude(finished, heart)
        self._tally.ended[JobStatus.SUCCEEDED] += 1
        _log.info("tuning job %d made %s@%d", record.id, record.task, published.version.version)

    async def _claim(self, status: JobStatus) -> tuple[JobClaim, JobRecord] | None:
        claim_job = partial(self._tuning.claim_job, self._fingerprint, status, self._options.owner)
        claiming = asyncio.create_task(self._threads.run(claim_job))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await self._give_back(claiming)
            raise

    async def _give_back(self, claiming: asyncio.Task[tuple[JobClaim, JobRecord] | None]) -> None:
        """The server ends while it claims: let go what it gets, which has no heart yet."""
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                if (found := await claiming) is not None:
                    await self._threads.run(self._tuning.release_job, found[0])
        except Exception:  # the end goes on; what was claimed is taken over
            _log.warning("a job that was just claimed could not be given back", exc_info=True)

    @asynccontextmanager
    async def _heart(self, claim: JobClaim, status: JobStatus) -> AsyncIterator[Heart]:
        heart = Heart(self._tuning, claim, self._options.pace.beat_interval_s)
        self._hearts[claim] = heart
        self._working[status] += 1
        try:
            async with heart.beating():
                yield heart
        finally:
            del self._hearts[claim]
            self._working[status] -= 1

    @asynccontextmanager
    async def _ends_well(self, claim: JobClaim, heart: Heart) -> AsyncIterator[None]:
        """See that whatever happens, the job ends, or is given back to go on: none is left hanging.

        While the store is away the job stays claimed: given up, it would count as one that ended its server.
        """
        try:
            yield
        except ClaimLost as lost:
            _log.info("tuning job %d is left: %s", claim.job_id, lost)
            if lost.status is not None and lost.status.is_end:
                self._tally.ended[lost.status] += 1
            raise
        except (StoreUnavailable, EngineStopped):
            await self._release_once_possible(claim, heart)
            await asyncio.sleep(self._options.poll_interval_s)
        except Exception as error:  # the edge of a job: a failure is the job's, never the server's
            await self._fail(claim, error, heart)
            self._tally.ended[JobStatus.FAILED] += 1

    async def _fail(self, claim: JobClaim, cause: Exception, heart: Heart) -> None:
        """End a job with its cause. What it has saved is kept, unless its numbers diverged."""
        failure, num_unwritable = job_error(claim.job_id, cause), 0
        fail_job = partial(self._tuning.fail_job, keep_state=not isinstance(cause, TuningDiverged))
        while True:
            try:
                async with heart.telling() as events:
                    return await self._threads.run(fail_job, claim, failure, events)
            except ClaimLost:
                raise
            except StoreUnavailable:
                pass
            except Exception as error:  # what was told cannot be written, and is dropped; or else the failure itself
                num_unwritable += 1
                failure = failure if num_unwritable == 1 else job_error(claim.job_id, error)
            await asyncio.sleep(self._options.poll_interval_s)

    async def _release_once_possible(self, claim: JobClaim, heart: Heart) -> None:
        while True:
            with suppress(StoreUnavailable):
                return await self._release(claim, heart)
            await asyncio.sleep(self._options.poll_interval_s)

    async def _release(self, claim: JobClaim, heart: Heart) -> None:
        async with heart.telling() as events:
            await self._threads.run(self._tuning.release_job, claim, events)

    async def _leave(self, claim: JobClaim, training: Training | None, heart: Heart) -> None:
        """The server ends: save what there is, and let another one, or this one's next life, go on.

        A piece that does not end in time is left behind, and the job given back as of its last checkpoint: a server
        that stops in order must not count as one that the job has ended.
        """
        try:
            try:
                async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                    if training is not None:
                        await training.save()
            finally:
                async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                    await self._release(claim, heart)
        except Exception:  # the job is still in the store, as of its last checkpoint, and is taken over
            _log.warning("tuning job %d could not be saved at the end", claim.job_id, exc_info=True)
