"""The events of one request on the event loop, for its reader and for the engine's observers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from server.engine.events import TERMINAL, EngineEvent, EventSink, RequestObserver


class EventStream:
    """Yields events up to the terminal one. It calls `leave` if it is closed, cancelled or dropped before that.

    `next_event` waits for the next event. `observers` see each event when the reader gets it.
    """

    def __init__(
        self,
        next_event: Callable[[], Awaitable[EngineEvent]],
        leave: Callable[[], None],
        observers: Sequence[RequestObserver] = (),
    ) -> None:
        self._next_event = next_event
        self._leave = leave
        self._observers = observers
        self._is_over = False
        self.is_aborted = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> EngineEvent:
        if self._is_over:
            raise StopAsyncIteration
        try:
            event = await self._next_event()
        except (asyncio.CancelledError, StopAsyncIteration):
            self._abandon()
            raise
        for observer in self._observers:
            observer.event(event)
        if isinstance(event, TERMINAL):
            self._end()
        return event

    async def aclose(self) -> None:
        """Abort the request if it is unfinished."""
        self._abandon()

    def __del__(self) -> None:
        self._abandon()

    def _abandon(self) -> None:
        if not self._is_over:
            self.is_aborted = True
            try:
                self._end()
            finally:
                self._leave()

    def _end(self) -> None:
        self._is_over = True
        for observer in self._observers:
            observer.end(is_aborted=self.is_aborted)


class Delivery:
    """The engine's end of a `DeliveredStream`. The engine keeps this, and never the stream, which may be dropped.

    `observers` see each event when it is put, so what they measure does not depend on the reader.
    """

    def __init__(self, observers: Sequence[RequestObserver] = ()) -> None:
        self._observers = observers
        self.arrived: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.sink: EventSink = self.arrived.put_nowait
        self.is_over = False
        self.is_aborted = False

    def put(self, event: EngineEvent) -> None:
        """Pass on an event. Nothing is passed on after the terminal one, or after the reader has left."""
        if self.is_over:
            return
        try:
            for observer in self._observers:
                observer.event(event)
            if isinstance(event, TERMINAL):
                self.end()
        finally:  # the reader gets the event even if an observer fails
            self.sink(event)

    def end(self) -> None:
        """No more events are passed on."""
        self.is_over = True
        for observer in self._observers:
            observer.end(is_aborted=self.is_aborted)


class DeliveredStream:
    """Yields the events of a delivery, or hands them on as they come. Otherwise it is an `EventStream`."""

    def __init__(self, delivery: Delivery, leave: Callable[[], None]) -> None:
        self._delivery = delivery
        self._leave = leave
        self._is_read = False

    def hand_to(self, sink: EventSink) -> None:
        """Call `sink` with each event in the turn of the event loop that brings it, in place of iterating.

        The sink must not raise. It gets what has come already at once.
        """
        while not self._delivery.arrived.empty():
            sink(self._delivery.arrived.get_nowait())
        self._delivery.sink = sink

    def __aiter__(self) -> DeliveredStream:
        return self

    async def __anext__(self) -> EngineEvent:
        if self._is_read:
            raise StopAsyncIteration
        try:
            event = await self._delivery.arrived.get()
        except asyncio.CancelledError:
            self._abandon()
            raise
        self._is_read = isinstance(event, TERMINAL)
        return event

    async def aclose(self) -> None:
        """Abort the request if it is unfinished."""
        self._abandon()

    def __del__(self) -> None:
        self._abandon()

    def _abandon(self) -> None:
        self._is_read = True
        if not self._delivery.is_over:
            self._delivery.is_aborted = True
            try:
                self._delivery.end()
            finally:
                self._leave()
