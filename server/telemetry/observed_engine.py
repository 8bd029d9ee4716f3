"""An engine whose requests are watched on their way through the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.engine.client import EngineClient, EngineStats
from server.engine.request import EngineEvent, Request, RequestFailed, RequestFinished, Scored

_TERMINAL = (RequestFinished, Scored, RequestFailed)


class RequestObserver(Protocol):
    """Sees one accepted request: its events in order, then its end, once."""

    def event(self, event: EngineEvent) -> None:
        """An event has come, the terminal one included."""

    def end(self, *, is_aborted: bool) -> None:
        """The request is over; aborted, where its reader left or ended it before it was finished."""


class EngineObserver(Protocol):
    """Sees every request that the engine accepts."""

    def begin(self, request: Request) -> RequestObserver:
        """The engine has accepted a request."""


class ObservedEngine:
    """An `EngineClient` in front of another one."""

    def __init__(self, engine: EngineClient, observers: Sequence[EngineObserver]) -> None:
        self._engine = engine
        self._observers = tuple(observers)
        self._watches: dict[str, _Watch] = {}

    def running(self) -> AbstractAsyncContextManager[None]:
        """See `EngineClient`."""
        return self._engine.running()

    def stream(self, request: Request) -> AsyncIterator[EngineEvent]:
        """See `EngineClient`."""
        events = self._engine.stream(request)
        watch = _Watch(self._watches, request.request_id, [observer.begin(request) for observer in self._observers])
        return _ObservedStream(events, watch)

    def check(self, requests: Sequence[Request]) -> None:
        """See `EngineClient`."""
        self._engine.check(requests)

    def check_servable(self, request: Request) -> None:
        """See `EngineClient`."""
        self._engine.check_servable(request)

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """See `EngineClient`."""
        if choice is None and (watch := self._watches.get(request_id)):
            watch.is_aborted = True
        self._engine.abort(request_id, choice)

    def cut_off(self) -> None:
        """See `EngineClient`."""
        self._engine.cut_off()

    @property
    def max_context(self) -> int:
        """See `EngineClient`."""
        return self._engine.max_context

    @property
    def stats(self) -> EngineStats:
        """See `EngineClient`."""
        return self._engine.stats

    @property
    def is_alive(self) -> bool:
        """See `EngineClient`."""
        return self._engine.is_alive

    @property
    def is_wedged(self) -> bool:
        """See `EngineClient`."""
        return self._engine.is_wedged


class _Watch:
    """The observers of one request, which is among the open ones until it ends."""

    def __init__(self, watches: dict[str, _Watch], request_id: str, observers: Sequence[RequestObserver]) -> None:
        self.is_aborted = False
        self._observers = observers
        self._watches = watches
        self._request_id = request_id
        watches[request_id] = self

    def event(self, event: EngineEvent) -> None:
        for observer in self._observers:
            observer.event(event)

    def end(self) -> None:
        if self._watches.get(self._request_id) is self:
            del self._watches[self._request_id]
        observers, self._observers = self._observers, ()
        for observer in observers:
            observer.end(is_aborted=self.is_aborted)


class _ObservedStream:
    """Passes events on; left before the last one, by whatever way, the request counts as aborted."""

    def __init__(self, events: AsyncIterator[EngineEvent], watch: _Watch) -> None:
        self._events = events
        self._watch = watch
        self._is_over = False

    def __aiter__(self) -> _ObservedStream:
        return self

    async def __anext__(self) -> EngineEvent:
        try:
            event = await self._events.__anext__()
        except (asyncio.CancelledError, StopAsyncIteration):
            self._leave()
            raise
        self._watch.event(event)
        if isinstance(event, _TERMINAL):
            self._is_over = True
            self._watch.end()
        return event

    async def aclose(self) -> None:
        """Leave the request; the engine's own stream aborts it."""
        self._leave()
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._watch.is_aborted = True
            self._watch.end()
