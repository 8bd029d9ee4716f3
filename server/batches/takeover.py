"""Find the batches of servers that have stopped, and let other servers claim them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from prompts_store.batch_records import BatchBeat, BatchClaim, BatchFault
from prompts_store.batch_store import BatchStore
from server.threads import Threads

_log = logging.getLogger(__name__)

HOPELESS = BatchFault(
    "server_stopped",
    "One server after another stopped or failed while it worked on this batch, without a further result. Its files "
    "have the results until then.",
)


@dataclass(slots=True, eq=False)
class BatchTakeOver:
    """Releases a batch whose heartbeat count has not changed for `takeover_s`, by `clock`, which counts seconds.

    An error of the store clears all silence seen before it, as with tuning jobs. Belongs to the event loop.
    """

    store: BatchStore
    threads: Threads
    fingerprint: str
    takeover_s: float
    clock: Callable[[], float]
    _silent_since: dict[BatchBeat, float] = field(default_factory=dict, init=False)

    async def release_stale(self, own: Collection[BatchClaim]) -> bool:
        """Release the batches of silent servers; return whether there was one. `own` are the claims of this server.

        Raises StoreUnavailable.
        """
        now, released = self.clock(), False
        silent_since, self._silent_since = self._silent_since, {}
        beats = await self.threads.run(self.store.beats, self.fingerprint)
        silent_since = {beat: silent_since.get(beat, now) for beat in beats if beat.claim not in own}
        for beat, since in silent_since.items():
            if now - since > self.takeover_s and await self.threads.run(self.store.take_over, beat, HOPELESS):
                _log.warning("the server of batch %d has stopped; another server can claim it", beat.claim.batch_id)
                released = True
        self._silent_since = silent_since
        return released
