"""Find the jobs of servers that have stopped, and let other servers claim them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection

from prompts_store.tuning_records import Heartbeat, JobClaim, JobStatus
from prompts_store.tuning_store import TuningStore
from server.jobs.failures import stops_servers
from server.queue_worker import SilenceWatch
from server.threads import Threads

_log = logging.getLogger(__name__)


class TakeOver:
    """Releases the jobs of other servers that have been silent for `takeover_s`. Belongs to the event loop."""

    def __init__(
        self, tuning: TuningStore, threads: Threads, fingerprint: str, takeover_s: float, clock: Callable[[], float]
    ) -> None:
        self._tuning = tuning
        self._threads = threads
        self._fingerprint = fingerprint
        self._watch = SilenceWatch[Heartbeat](takeover_s, clock)

    async def release_stale(self, own: Collection[JobClaim]) -> AsyncIterator[JobStatus]:
        """Release the jobs of silent servers, and yield the new status of each. `own` are the claims of this server.

        Raises StoreUnavailable.
        """
        async with self._watch.silent(self._others(own)) as silent:
            for beat in silent:
                if (status := await self._release(beat)) is not None:
                    yield status

    async def _others(self, own: Collection[JobClaim]) -> list[Heartbeat]:
        beats = await self._threads.run(self._tuning.heartbeats, self._fingerprint)
        return [beat for beat in beats if beat.claim not in own]

    async def _release(self, beat: Heartbeat) -> JobStatus | None:
        status = await self._threads.run(self._tuning.take_over, beat, stops_servers(beat.status))
        if status is JobStatus.FAILED:
            _log.error("tuning job %d stopped one server after another; it has failed", beat.claim.job_id)
        elif status is not None:
            _log.warning("the server of tuning job %d has stopped; another server can claim it", beat.claim.job_id)
        return status
