"""Heartbeat of a claimed batch: it tells the store that this server works on it, and learns of a cancellation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prompts_store.batch_errors import BatchClaimLost
from prompts_store.batch_records import BatchClaim, BatchStatus
from prompts_store.batch_store import BatchStore
from prompts_store.errors import StoreUnavailable
from server.background_task import background_task
from server.threads import Threads

_log = logging.getLogger(__name__)


class BatchHeartbeat:
    """Writes a beat per interval while the context `beating` is open. Belongs to the event loop.

    `stopping` is set once the batch was cancelled, or is no longer this server's (`is_lost`).
    """

    def __init__(self, store: BatchStore, claim: BatchClaim, threads: Threads, interval_s: float) -> None:
        self._store = store
        self._claim = claim
        self._threads = threads
        self._interval_s = interval_s
        self._beat_now = asyncio.Event()
        self.stopping = asyncio.Event()
        self.is_lost = False

    def beat_soon(self) -> None:
        """Beat now instead of at the end of the interval, because the batch may have been cancelled."""
        self._beat_now.set()

    def note(self, status: BatchStatus) -> None:
        """Take over the status that a write to the store returned."""
        if status is BatchStatus.CANCELLING:
            self.stopping.set()

    def lose(self) -> None:
        """The store has refused a write of this claim."""
        self.is_lost = True
        self.stopping.set()

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat in the background while the context is open."""
        async with background_task(self._beat(), "batch-heartbeat"):
            yield

    async def _beat(self) -> None:
        while not self.is_lost:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._beat_now.wait()
            self._beat_now.clear()
            try:
                self.note(await self._threads.run(self._store.beat, self._claim))
            except BatchClaimLost:
                self.lose()
            except StoreUnavailable:
                _log.warning("the store cannot be reached; batch %d continues", self._claim.batch_id)
            except Exception:  # without beats, another server would take over a batch that runs well
                _log.exception("a heartbeat of batch %d failed", self._claim.batch_id)
