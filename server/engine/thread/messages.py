"""Messages from the event loop to the engine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.engine.events import EventSink
from server.engine.request import Kind, Request


@dataclass(frozen=True, slots=True, eq=False)
class Submit:
    """Begin a request; its events go to `sink`."""

    request: Request[Kind]
    sink: EventSink


@dataclass(frozen=True, slots=True)
class Abort:
    """End a request, or one of its choices."""

    request_id: str
    choice: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Run background work, and put its outcome into the future. If that is done already, its sender has left."""

    work: Callable[[], Any]
    outcome: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """End the thread."""


Message = Submit | Abort | Piece | Stop


def settle(outcome: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    """On the event loop: deliver the outcome of a piece, if its sender still waits."""
    if outcome.done():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
