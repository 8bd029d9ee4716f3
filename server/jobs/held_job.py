"""A job that this server has claimed. Every way to stop work on it ends the job or gives it back."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from prompts_store.errors import StoreCorrupt, StoreUnavailable
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import JobClaim, JobStatus, StateAtFailure
from prompts_store.tuning_store import TuningStore
from server.engine.errors import EngineStopped
from server.jobs.claim_heartbeat import ClaimHeartbeat
from server.jobs.failures import job_error
from server.jobs.training import Training
from server.threads import Threads
from server.tuning.errors import CheckpointUnreadable, StudyFailed, TeacherSilent, TuningDiverged

_RELEASE_TIMEOUT_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class HeldJob:
    """A claim and its heartbeat. `ended` counts the jobs that ended on this server, by status."""

    tuning: TuningStore
    claim: JobClaim
    heartbeat: ClaimHeartbeat
    threads: Threads
    ended: Counter[JobStatus]
    retry_s: float
    leave_timeout_s: float

    @asynccontextmanager
    async def ending_on_error(self) -> AsyncIterator[None]:
        """Fail the job, or give it back, where the block raises. Raises ClaimLost.

        While the store cannot be reached the job stays claimed. Without a claim, the take-over by another server would
        count this server as stopped by the job.
        """
        try:
            yield
        except ClaimLost as lost:
            _log.info("tuning job %d is left: %s", self.claim.job_id, lost)
            if lost.status is not None and lost.status.is_end:
                self.ended[lost.status] += 1
            raise
        except (StoreUnavailable, EngineStopped):
            await self._release_once_possible()
            await asyncio.sleep(self.retry_s)
        except Exception as error:  # the edge of a job: its failure never stops the server
            await self._fail(error)
            self.ended[JobStatus.FAILED] += 1

    async def leave(self, training: Training | None) -> None:
        """Save a checkpoint and give the job back, because this server shuts down.

        A piece that outlasts the timeout is abandoned, and the job continues from its last checkpoint. The job is given
        back even then, so that an orderly shutdown does not count as a server stopped by the job.
        """
        try:
            try:
                async with asyncio.timeout(self.leave_timeout_s):
                    if training is not None:
                        await training.save()
            finally:
                async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                    await self._release()
        except Exception:  # the job stays in the store as of its last checkpoint, and another server takes it over
            _log.warning("tuning job %d could not be saved at the end", self.claim.job_id, exc_info=True)

    async def _fail(self, cause: Exception) -> None:
        failure, num_unwritable = job_error(self.claim.job_id, cause), 0
        fail_job = partial(self.tuning.fail_job, state=_state_after(cause))
        while True:
            try:
                async with self.heartbeat.queued_events() as events:
                    return await self.threads.run(fail_job, self.claim, failure, events)
            except ClaimLost:
                raise
            except StoreUnavailable:
                pass
            except Exception as error:
                # First the queued events cannot be written and are dropped; then the failure itself cannot.
                num_unwritable += 1
                failure = failure if num_unwritable == 1 else job_error(self.claim.job_id, error)
            await asyncio.sleep(self.retry_s)

    async def _release_once_possible(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                return await self._release()
            await asyncio.sleep(self.retry_s)

    async def _release(self) -> None:
        async with self.heartbeat.queued_events() as events:
            await self.threads.run(self.tuning.release_job, self.claim, events)


def _state_after(cause: Exception) -> StateAtFailure:
    """A run that diverged would diverge again from its state, and a base model that writes nothing would write nothing
    again. A state that this server cannot read may be readable by a server of another release or with other options."""
    match cause:
        case TuningDiverged() | StudyFailed() | TeacherSilent():
            return StateAtFailure.DROPPED
        case CheckpointUnreadable() | StoreCorrupt():
            return StateAtFailure.UNREADABLE
    return StateAtFailure.RESUMABLE
