"""One claimed batch: its lines are asked, a bounded number at once, and their results kept.

A result counts once the store keeps it. A server that is killed loses only the answers that were not kept yet: their
lines are asked again, and no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from prompts_store.batch_errors import BatchClaimLost
from prompts_store.batch_records import BatchClaim, BatchRecord, BatchStatus, LineResult
from prompts_store.batch_store import BatchStore
from prompts_store.errors import StoreUnavailable
from server.batches import output_line
from server.batches.asker import Ask, LineAsker, TryLater
from server.batches.heartbeat import BatchHeartbeat
from server.batches.input_file import InputLine
from server.threads import Threads

_KEPT_AT_ONCE = 100
_GATHER_S = 0.05
"""Results that come within this time are kept in one transaction."""
_RETRY_S = 1.0
_LEAVE_S = 10.0
"""Maximum time for the last results to be kept."""
_UNASKED = {
    BatchStatus.EXPIRED: ("batch_expired", "The batch's completion window ended before this line was asked."),
    BatchStatus.CANCELLED: ("batch_cancelled", "The batch was cancelled before this line was asked."),
}

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class LineCounts:
    """Lines of all batches of this server: in flight now; answered and failed since its start."""

    num_in_flight: int = 0
    num_answered: int = 0
    num_failed: int = 0


@dataclass(slots=True, eq=False)
class HeldBatch:
    """A batch that this server has claimed. Belongs to the event loop. `slots` bounds the lines in flight."""

    store: BatchStore
    claim: BatchClaim
    record: BatchRecord
    heartbeat: BatchHeartbeat
    asker: LineAsker
    slots: asyncio.Semaphore
    threads: Threads
    counts: LineCounts
    _results: asyncio.Queue[LineResult | None] = field(default_factory=asyncio.Queue, init=False)
    _paused_until: float = field(default=0.0, init=False)

    async def ask(self, lines: Collection[InputLine]) -> BatchStatus:
        """Ask the lines that have no result, and end the batch; return its status. Raises BatchClaimLost."""
        await self._ask_missing(lines)
        if self.heartbeat.is_lost:
            raise BatchClaimLost("Another server works on the batch, or it has ended.")
        return await self.end(lines)

    async def end(self, lines: Collection[InputLine]) -> BatchStatus:
        """Make the files and end the batch, whether or not all of its lines were asked. Raises BatchClaimLost."""
        done = await self._stored(self.store.done, self.claim)
        missing = [line for line in lines if line.number not in done]
        status = BatchStatus.COMPLETED
        if missing:
            status = BatchStatus.EXPIRED if self._is_expired else BatchStatus.CANCELLED
        else:
            await self._stored(self.store.begin_files, self.claim)
        unasked = [output_line.never_asked(self.record.id, line, *_UNASKED[status]) for line in missing]
        await self._stored(self.store.end, self.claim, status, unasked)
        return status

    async def _ask_missing(self, lines: Collection[InputLine]) -> None:
        """Ask the lines without a result until all have one, or the batch is cancelled, lost or expired."""
        done = await self._stored(self.store.done, self.claim)
        keeping = asyncio.create_task(self._keep(), name="batch-keep")
        asking = asyncio.create_task(self._ask_all(deque(line for line in lines if line.number not in done)))
        stopping = asyncio.create_task(self._until_stopped())
        try:
            await asyncio.wait((keeping, asking, stopping), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the server stops: what is answered is kept, if the store takes it soon
            await self._stop(asking, stopping)
            await asyncio.wait((keeping,), timeout=_LEAVE_S)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            raise
        await self._stop(asking, stopping)
        await keeping
        if not asking.cancelled() and (error := asking.exception()) is not None:
            raise error

    async def _stop(self, *tasks: asyncio.Task[None]) -> None:
        """End the asking; the keeping ends behind the results until now."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._results.put_nowait(None)

    async def _until_stopped(self) -> None:
        """Wait until the batch is cancelled, lost or expired."""
        left_s = (self.record.expires_at - datetime.now(UTC)).total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, left_s)):
                await self.heartbeat.stopping.wait()

    @property
    def _is_expired(self) -> bool:
        return datetime.now(UTC) >= self.record.expires_at and not self.heartbeat.stopping.is_set()

    async def _ask_all(self, pending: deque[InputLine]) -> None:
        """Ask lines in their order while slots are free. A line that must wait goes back to the front."""
        running: set[asyncio.Task[None]] = set()

        def end(task: asyncio.Task[None]) -> None:
            running.discard(task)
            self.slots.release()

        async with asyncio.TaskGroup() as group:
            while pending or running:
                if not pending:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    continue
                await asyncio.sleep(self._paused_until - asyncio.get_running_loop().time())
                await self.slots.acquire()
                task = group.create_task(self._ask_one(pending.popleft(), pending))
                running.add(task)
                task.add_done_callback(end)

    async def _ask_one(self, line: InputLine, pending: deque[InputLine]) -> None:
        self.counts.num_in_flight += 1
        name = output_line.line_id(self.record.id, line)
        ask = Ask(name, self.record.owner, self.record.endpoint, line.body, line.custom_id.encode())
        try:
            answer = await self.asker.ask(ask)
        except TryLater as later:
            self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + later.after_s)
            pending.appendleft(line)
            return
        finally:
            self.counts.num_in_flight -= 1
        self._results.put_nowait(output_line.answered(self.record.id, line, answer))

    async def _keep(self) -> None:
        """Keep results as they come, up to the end mark None. Raises BatchClaimLost."""
        is_over = False
        while not is_over:
            results = [await self._results.get()]
            if results[0] is not None:
                await asyncio.sleep(_GATHER_S)
                results += [self._results.get_nowait() for _ in range(min(_KEPT_AT_ONCE, self._results.qsize()))]
            is_over = None in results
            await self._write([result for result in results if result is not None])

    async def _write(self, results: list[LineResult]) -> None:
        if not results:
            return
        try:
            self.heartbeat.note(await self._stored(self.store.keep, self.claim, results))
        except BatchClaimLost:
            self.heartbeat.lose()
            raise
        num_failed = sum(result.is_error for result in results)
        self.counts.num_failed += num_failed
        self.counts.num_answered += len(results) - num_failed

    async def _stored(self, operation: Callable[_P, _Result], *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        """The result of an operation of the store, tried again while the store cannot be reached."""
        while True:
            try:
                return await self.threads.run(operation, *args, **kwargs)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
