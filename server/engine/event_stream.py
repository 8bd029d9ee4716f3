"""The events of one request on the event loop, for its reader and for the engine's observers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from server.engine.events import TERMINAL, EngineEvent, RequestObserver


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
