"""Find the batches of servers that have stopped, and let other servers claim them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from prompts_store.batch_records import BatchBeat, BatchClaim, BatchFault
from prompts_store.batch_store import BatchStore
from server.queue_worker import SilenceWatch
from server.threads import Threads

_log = logging.getLogger(__name__)

HOPELESS = BatchFault(
    "server_stopped",
    "One server after another stopped or failed while it worked on this batch, without a further result. Its files "
    "have the results until then.",
)


class BatchTakeOver:
    """Releases the batches of other servers that have been silent for `takeover_s`. Belongs to the event loop."""

    def __init__(
        self, store: BatchStore, threads: Threads, fingerprint: str, takeover_s: float, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._threads = threads
        self._fingerprint = fingerprint
        self._watch = SilenceWatch[BatchBeat](takeover_s, clock)

    async def release_stale(self, own: Collection[BatchClaim]) -> bool:
        """Release the batches of silent servers; return whether there was one. `own` are the claims of this server.

        Raises StoreUnavailable.
        """
        released = False
        async with self._watch.silent(self._others(own)) as silent:
            for beat in silent:
                if await self._threads.run(self._store.take_over, beat, HOPELESS):
                    _log.warning("the server of batch %d has stopped; another server can claim it", beat.claim.batch_id)
                    released = True
        return released

    async def _others(self, own: Collection[BatchClaim]) -> list[BatchBeat]:
        beats = await self._threads.run(self._store.beats, self._fingerprint)
        return [beat for beat in beats if beat.claim not in own]
