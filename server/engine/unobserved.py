"""An engine without its observers, for requests of the server's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.engine.client import RequestRunner
from server.engine.events import EngineEvent, EngineObserver
from server.engine.request import Kind, Request


class Observable(RequestRunner, Protocol):
    """A runner whose caller chooses who observes a request."""

    def stream_to(self, request: Request[Kind], observers: Sequence[EngineObserver]) -> AsyncIterator[EngineEvent]:
        """`stream`, with these observers in place of the engine's."""


@dataclass(frozen=True, slots=True, eq=False)
class UnobservedRunner:
    """Implements `RequestRunner`: the engine, with no observer."""

    engine: Observable

    def stream(self, request: Request[Kind]) -> AsyncIterator[EngineEvent]:
        """See `RequestRunner`."""
        return self.engine.stream_to(request, ())

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """See `RequestRunner`."""
        self.engine.abort(request_id, choice)

    @property
    def max_context(self) -> int:
        """See `RequestRunner`."""
        return self.engine.max_context
