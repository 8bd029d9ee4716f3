"""Heartbeat of a claimed job: it tells the store that this server works on the job, and carries the job's events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from prompts_store.errors import StoreError, StoreUnavailable
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import JobClaim, JobProgress, NewEvent
from prompts_store.tuning_store import TuningStore
from server.background_task import background_task
from server.threads import Threads

_log = logging.getLogger(__name__)


class ClaimHeartbeat:
    """Writes a beat per interval while the context `beating` is open. Belongs to the event loop.

    After a beat that the store refused, `check` raises ClaimLost: the job belongs to another server, or has ended.
    While the store cannot be reached the job continues, and its events stay queued.
    """

    def __init__(self, store: TuningStore, claim: JobClaim, interval_s: float) -> None:
        self._store = store
        self._claim = claim
        self._interval_s = interval_s
        self._queued: list[NewEvent] = []
        self._writing = asyncio.Lock()
        self._lost: ClaimLost | None = None
        self._beat_now = asyncio.Event()
        self._threads = Threads("tuning-heartbeat", 1)
        self.progress: JobProgress | None = None

    def queue(self, events: Sequence[NewEvent]) -> None:
        """Queue events for the next write."""
        self._queued += events

    def beat_soon(self) -> None:
        """Beat now instead of at the end of the interval, because the job may have been cancelled or paused."""
        self._beat_now.set()

    def check(self) -> None:
        """Raise ClaimLost if a beat has found that the job is lost."""
        if self._lost is not None:
            raise self._lost

    @asynccontextmanager
    async def queued_events(self) -> AsyncIterator[tuple[NewEvent, ...]]:
        """Give the queued events to one store write. If the store refuses it, they stay queued for the next.

        Writes take turns, so that a beat in flight reaches the store before the write that ends the job. Events that
        cannot be written at all are dropped, because they would fail every later write too.
        """
        async with self._writing:
            events, self._queued = tuple(self._queued), []
            try:
                yield events
            except (StoreError, asyncio.CancelledError):  # the write may have passed: rather an event twice than none
                self._queued[:0] = events
                raise
            except Exception:
                _log.error("%d events of tuning job %d cannot be written", len(events), self._claim.job_id)
                raise

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat in the background while the context is open."""
        try:
            async with background_task(self._beat(), "tuning-heartbeat"):
                yield
        finally:
            self._threads.close()

    async def _beat(self) -> None:
        while self._lost is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._beat_now.wait()
            self._beat_now.clear()
            try:
                async with self.queued_events() as events:
                    await self._threads.run(self._store.beat, self._claim, events, self.progress)
            except ClaimLost as error:
                self._lost = error
            except StoreUnavailable:
                _log.warning("the store cannot be reached; tuning job %d continues", self._claim.job_id)
            except Exception:  # without beats, another server would take over a job that runs well
                _log.exception("a heartbeat of tuning job %d failed", self._claim.job_id)
