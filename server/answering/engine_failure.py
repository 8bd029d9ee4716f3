"""Failures of requests become exceptions of the engine's tree."""

from __future__ import annotations

from server.engine.errors import EngineError, StepFailed
from server.engine.events import RequestFailed


def failure_of(event: RequestFailed) -> EngineError:
    """The cause if it is an `EngineError`, else a `StepFailed` with the cause chained."""
    if isinstance(event.cause, EngineError):
        return event.cause
    failure = StepFailed("a request failed")
    failure.__cause__ = event.cause
    return failure
