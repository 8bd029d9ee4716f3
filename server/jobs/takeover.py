"""Find the jobs of servers that have stopped, and let other servers claim them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from prompts_store.tuning_records import Heartbeat, JobClaim, JobStatus
from prompts_store.tuning_store import TuningStore
from server.jobs.failures import stops_servers
from server.threads import Threads

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class TakeOver:
    """Releases a job whose heartbeat count has not changed for `takeover_s`, by `clock`, which counts seconds.

    While the store cannot be reached no server can beat. So an error of the store clears all silence seen before it,
    and after the outage every claim gets the full time again. Belongs to the event loop.
    """

    tuning: TuningStore
    threads: Threads
    fingerprint: str
    takeover_s: float
    clock: Callable[[], float]
    _silent_since: dict[Heartbeat, float] = field(default_factory=dict, init=False)

    async def release_stale(self, own: Collection[JobClaim]) -> AsyncIterator[JobStatus]:
        """Release the jobs of silent servers, and yield the new status of each. `own` are the claims of this server.

        Raises StoreUnavailable.
        """
        now = self.clock()
        silent_since, self._silent_since = self._silent_since, {}
        beats = await self.threads.run(self.tuning.heartbeats, self.fingerprint)
        silent_since = {beat: silent_since.get(beat, now) for beat in beats if beat.claim not in own}
        for beat, since in silent_since.items():
            if now - since > self.takeover_s and (status := await self._release(beat)) is not None:
                yield status
        self._silent_since = silent_since

    async def _release(self, beat: Heartbeat) -> JobStatus | None:
        status = await self.threads.run(self.tuning.take_over, beat, stops_servers(beat.status))
        if status is JobStatus.FAILED:
            _log.error("tuning job %d stopped one server after another; it has failed", beat.claim.job_id)
        elif status is not None:
            _log.warning("the server of tuning job %d has stopped; another server can claim it", beat.claim.job_id)
        return status
