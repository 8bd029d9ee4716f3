"""Runner of batches: it claims, asks, ends and takes over the batches of one base model.

A few batches run at once and share the lines in flight. All methods belong to the event loop; SQL and the reading of
files run in threads.
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

from prompts_store.batch_errors import BatchClaimLost
from prompts_store.batch_records import BatchClaim, BatchFault, BatchRecord, BatchStatus
from prompts_store.batch_store import BatchStore
from prompts_store.errors import StoreCorrupt, StoreError
from prompts_store.store import Store
from prompts_store.tuning_errors import FileNotFound
from prompts_store.tuning_store import TuningStore
from server.background_task import background_task
from server.batches.asker import LineAsker
from server.batches.heartbeat import BatchHeartbeat
from server.batches.held_batch import HeldBatch, LineCounts
from server.batches.input_file import InputFile, InputLimits, read_input
from server.batches.takeover import BatchTakeOver
from server.queue_worker import StepLoops, claim_or_release, worker_name
from server.telemetry.state_metrics import BatchStats
from server.threads import Threads

_log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Batches that a server asks at once."""
_LEAVE_S = 10.0
"""Maximum time at a shutdown for a claim that is under way."""
_PAUSE_S = 0.005
"""Pause in the reading of a file, so that it does not hold up the steps of live requests."""
_FILE_GONE = BatchFault("file_not_found", "The input file has been deleted or is damaged.")


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Bounds and times of the runner, in lines and seconds, as those of tuning jobs."""

    limits: InputLimits
    max_lines_in_flight: int = 64
    poll_interval_s: float = 1.0
    heartbeat_s: float = 2.0
    takeover_s: float = 10.0
    server: str = field(default_factory=worker_name)
    clock: Callable[[], float] = time.monotonic


class BatchRunner:
    """Works on the batches of one base model."""

    def __init__(self, store: Store, fingerprint: str, asker: LineAsker, options: BatchOptions) -> None:
        self._batches = BatchStore(store)
        self._files = TuningStore(store)
        self._fingerprint = fingerprint
        self._asker = asker
        self._options = options
        self._threads = Threads("batches", 4)
        self._beat_threads = Threads("batch-heartbeat", 1)
        self._take_over = BatchTakeOver(self._batches, self._threads, fingerprint, options.takeover_s, options.clock)
        self._slots = asyncio.Semaphore(options.max_lines_in_flight)
        self._held: dict[BatchClaim, BatchHeartbeat] = {}
        self._ended: Counter[BatchStatus] = Counter()
        self._counts = LineCounts()
        self._loops = StepLoops("batches", options.poll_interval_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the context is open. Batches that run when it closes are given back."""
        try:
            asking = {f"ask-{number}": self._ask_next for number in range(_AT_ONCE)}
            steps = asking | {"end": self._end_next, "take-over": self._release_stale}
            async with background_task(self._loops.run(steps), "batches"):
                yield
        finally:
            self._threads.close()
            self._beat_threads.close()

    @property
    def stats(self) -> BatchStats:
        """Batches that this server works on, and totals since it started."""
        return BatchStats(
            num_running=len(self._held),
            num_lines_in_flight=self._counts.num_in_flight,
            num_lines_answered=self._counts.num_answered,
            num_lines_failed=self._counts.num_failed,
            num_ended={status.value: self._ended[status] for status in BatchStatus if status.is_end},
        )

    def nudge(self) -> None:
        """Read the store now, because a batch was created or cancelled."""
        self._loops.wake()
        for heartbeat in self._held.values():
            heartbeat.beat_soon()

    # --- the three steps ----------------------------------------------------------------------------------------------

    async def _ask_next(self) -> bool:
        return await self._next(to_end=False)

    async def _end_next(self) -> bool:
        return await self._next(to_end=True)

    async def _release_stale(self) -> bool:
        if await self._take_over.release_stale(self._held):
            self.nudge()
        return False

    # --- one batch ----------------------------------------------------------------------------------------------------

    async def _next(self, *, to_end: bool) -> bool:
        """Claim a batch and work on it to its end. Give it back if the runner is stopped.

        After a failure the claim is left: it is taken over without a heartbeat, and counts as fruitless.
        """
        claim_next = partial(self._batches.claim, self._fingerprint, self._options.server, to_end=to_end)
        found = await claim_or_release(self._threads, claim_next, self._batches.release, _LEAVE_S)
        if found is None:
            return False
        claim, record = found
        heartbeat = BatchHeartbeat(self._batches, claim, self._beat_threads, self._options.heartbeat_s)
        self._held[claim] = heartbeat
        try:
            async with heartbeat.beating():
                status = await self._work_on(claim, record, heartbeat, to_end=to_end)
            self._ended[status] += 1
            _log.info("batch %d is %s", record.id, status)
        except BatchClaimLost:
            pass  # purged, or taken over while the store was away
        except asyncio.CancelledError:
            await asyncio.shield(self._release(claim))
            raise
        finally:
            del self._held[claim]
        return True

    async def _work_on(
        self, claim: BatchClaim, record: BatchRecord, heartbeat: BatchHeartbeat, *, to_end: bool
    ) -> BatchStatus:
        read = await self._threads.run(self._read, record)
        if read.faults:
            await self._threads.run(self._batches.reject, claim, read.faults)
            return BatchStatus.FAILED
        if record.in_progress_at is None:
            await self._threads.run(self._batches.accept, claim, len(read.lines), read.tasks)
        held = HeldBatch(self._batches, claim, record, heartbeat, self._asker, self._slots, self._threads, self._counts)
        return await (held.end(read.lines) if to_end else held.ask(read.lines))

    def _read(self, record: BatchRecord) -> InputFile:
        try:
            data = self._files.load_file(record.input_file)
        except (FileNotFound, StoreCorrupt):
            return InputFile(faults=(_FILE_GONE,))
        return read_input(data, record.endpoint, self._options.limits, pause=partial(time.sleep, _PAUSE_S))

    async def _release(self, claim: BatchClaim) -> None:
        with suppress(StoreError):  # another server takes the batch over
            await self._threads.run(self._batches.release, claim)
