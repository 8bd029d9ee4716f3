"""The engine's thread and its client on the event loop: messages both ways, no locks.

Requests and aborts go through an inbox that the thread empties between steps. Events come back in one call to the
event loop per step.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from server.engine.client import EngineStats, RequestRunner
from server.engine.errors import EngineOverloaded, EngineStopped
from server.engine.event_stream import DeliveredStream, Delivery
from server.engine.events import TERMINAL, EngineEvent, EngineObserver, RequestFailed
from server.engine.request import Kind, Request
from server.engine.thread.background import BackgroundBudget, BackgroundShare
from server.engine.thread.messages import Abort, Message, Piece, Stop, Submit, settle
from server.engine.thread.snapshots import Snapshots
from server.engine.thread.step_engine import Limits, StepEngine
from server.engine.unobserved import UnobservedRunner
from server.engine.usage import EngineUsage

logger = logging.getLogger(__name__)

T = TypeVar("T")


class AsyncEngine:
    """An engine on a thread of its own; implements `EngineClient`. All methods belong to one event loop.

    A thread that has work, and neither ends a step nor takes a message for `wedged_after_s` seconds, counts as wedged.
    `observers` see every request that `stream` accepts.
    """

    def __init__(
        self,
        engine: StepEngine,
        limits: Limits,
        wedged_after_s: float = 300.0,
        background: BackgroundShare = BackgroundShare(),  # noqa: B008  (frozen)
        observers: Sequence[EngineObserver] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._wedged_after_s = wedged_after_s
        self._clock = clock
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._pieces: deque[Piece] = deque()
        self._budget = BackgroundBudget(background)
        self._outbox: list[tuple[str, EngineEvent]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = self._new_thread()
        self._observers = tuple(observers)
        self._open: dict[str, Delivery] = {}
        self._awaited: set[asyncio.Future[Any]] = set()
        self._is_accepting = False
        self._snapshots = Snapshots(engine, clock)
        self._busy_since: float | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `EngineClient`."""
        self.start()
        try:
            yield
        finally:
            await self.stop()

    def start(self) -> None:
        """Start the thread; to be called on the event loop that will use the engine. It may start again."""
        self._loop = asyncio.get_running_loop()
        self._is_accepting = True
        if self._thread.ident is not None:
            self._thread = self._new_thread()
        self._thread.start()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="engine", daemon=True)

    async def stop(self, grace_s: float = 0.0) -> None:
        """Accept nothing more, let accepted requests finish for `grace_s` seconds, fail the rest, end the thread."""
        self._is_accepting = False
        deadline = time.monotonic() + grace_s
        while self._open and self._thread.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self.cut_off()
        self._inbox.put(Stop())
        await asyncio.to_thread(self._thread.join)
        self._end()

    def cut_off(self) -> None:
        """See `EngineClient`."""
        cut, self._open = self._open, {}
        for request_id, delivery in cut.items():
            self._inbox.put(Abort(request_id, None))
            delivery.put(RequestFailed(EngineStopped("the engine has stopped")))

    def stream(self, request: Request[Kind]) -> AsyncIterator[EngineEvent]:
        """See `RequestRunner`. Raises ValueError where the request's id is in use."""
        return self.stream_to(request, self._observers)

    @property
    def unobserved(self) -> RequestRunner:
        """See `EngineClient`."""
        return UnobservedRunner(self)

    def stream_to(self, request: Request[Kind], observers: Sequence[EngineObserver]) -> DeliveredStream:
        """See `unobserved.Observable`."""
        self.check((request,))
        if request.request_id in self._open:
            raise ValueError(f"request id {request.request_id!r} is in use")
        delivery = Delivery([observer.begin(request) for observer in observers])
        self._open[request.request_id] = delivery
        self._inbox.put(Submit(request, lambda event: self._outbox.append((request.request_id, event))))
        return DeliveredStream(delivery, lambda: self._leave(request.request_id, delivery))

    def check(self, requests: Sequence[Request[Kind]]) -> None:
        """See `EngineClient`."""
        if not self._is_accepting or not self._thread.is_alive():
            raise EngineStopped("the engine is not running")
        for request in requests:
            self.check_servable(request)
        self._limits.check_together([request.prefix for request in requests])
        if self.num_open + len(requests) > self._limits.max_open_requests:
            raise EngineOverloaded("the queue is full")

    def check_servable(self, request: Request[Kind]) -> None:
        """See `EngineClient`."""
        self._limits.check(request)

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """See `EngineClient`."""
        if choice is None and (delivery := self._open.get(request_id)) is not None:
            delivery.is_aborted = True
        self._inbox.put(Abort(request_id, choice))

    async def between_steps(self, piece: Callable[[], T]) -> T:
        """See `PieceRunner`."""
        if not self._is_accepting or not self._thread.is_alive():
            raise EngineStopped("the engine is not running")
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._awaited.add(outcome)
        self._inbox.put(Piece(piece, outcome))
        try:
            return await outcome
        finally:
            self._awaited.discard(outcome)

    def _leave(self, request_id: str, delivery: Delivery) -> None:
        """A stream was dropped. If its request has ended unread, its id may belong to another request now."""
        if self._open.get(request_id) is delivery:
            self._inbox.put(Abort(request_id, None))

    @property
    def num_open(self) -> int:
        """Requests accepted and not yet ended."""
        return len(self._open)

    @property
    def max_context(self) -> int:
        """See `RequestRunner`."""
        return self._limits.max_sequence_tokens

    @property
    def stats(self) -> EngineStats:
        """See `EngineClient`."""
        return self._snapshots.stats

    @property
    def usage(self) -> EngineUsage:
        """See `EngineClient`."""
        return self._snapshots.usage

    @property
    def is_alive(self) -> bool:
        """See `EngineClient`."""
        return self._thread.is_alive() and not self.is_wedged

    @property
    def is_wedged(self) -> bool:
        """See `EngineClient`."""
        busy_since = self._busy_since
        overdue = busy_since is not None and self._clock() - busy_since > self._wedged_after_s
        return overdue and self._thread.is_alive()

    # --- the engine thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._take_messages():
                self._compute()
                self._snapshots.renew()
                self._deliver()
        except BaseException:  # the process edge of this thread: log it, then end all that wait
            logger.critical("the engine thread has died", exc_info=True)
            raise
        finally:
            self._deliver()
            self._call_soon(self._end)

    def _compute(self) -> None:
        """Compute one step if there are requests, then one piece of background work if its turn has come."""
        if self._engine.has_work:
            began = self._clock()
            self._engine.step()
            self._budget.earn(self._clock() - began, is_queueing=self._engine.stats.num_waiting > 0)
        if not self._engine.has_work:
            self._budget.forgive()
        if self._pieces and self._budget.is_free:
            self._run_piece(self._pieces.popleft())

    def _run_piece(self, piece: Piece) -> None:
        """Run a piece. Its failure is raised at its sender, and ends the thread only if the device is unusable."""
        if piece.outcome.done():
            return
        self._deliver()  # a piece may take longer than a step: no token waits for it
        began = self._clock()
        try:
            result = piece.work()
        except Exception as error:
            self._call_soon(settle, piece.outcome, None, error)
            self._engine.check_device()
        else:
            self._call_soon(settle, piece.outcome, result, None)
        if self._engine.has_work:
            self._budget.spend(self._clock() - began)

    @property
    def _has_work(self) -> bool:
        return self._engine.has_work or bool(self._pieces)

    def _take_messages(self) -> bool:
        """Empty the inbox, waiting for a message while there is nothing to compute. False at the message to stop."""
        while True:
            self._busy_since = self._clock() if self._has_work else None
            try:
                message = self._inbox.get(block=not self._has_work)
            except queue.Empty:
                return True
            self._busy_since = self._clock()
            if isinstance(message, Stop):
                return False
            if isinstance(message, Piece):
                self._pieces.append(message)
                continue
            if isinstance(message, Submit):
                self._engine.add(message.request, message.sink)
            else:
                self._engine.abort(message.request_id, message.choice)
            if not self._engine.has_work:
                self._snapshots.renew()
                self._deliver()

    def _deliver(self) -> None:
        if self._outbox:
            batch, self._outbox = self._outbox, []
            self._call_soon(self._hand_on, batch)

    def _call_soon(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: no reader is left
            logger.debug("the event loop closed before the engine")

    def _hand_on(self, batch: list[tuple[str, EngineEvent]]) -> None:
        """On the event loop: give each event to its stream, and forget requests that have ended."""
        for request_id, event in batch:
            delivery = self._open.pop(request_id, None) if isinstance(event, TERMINAL) else self._open.get(request_id)
            if delivery is None:
                continue
            try:
                delivery.put(event)
            except Exception:  # an observer's failure must not take the events of the other streams with it
                logger.exception("an observer of request %s has failed", request_id)

    def _end(self) -> None:
        """The thread has ended: fail all that still wait for it."""
        self._is_accepting = False
        self.cut_off()
        for outcome in self._awaited:
            settle(outcome, None, EngineStopped("the engine has stopped"))
