"""What the engine says of a request that it could not finish becomes an exception of its own tree."""

from __future__ import annotations

from server.engine.errors import EngineError, StepFailed
from server.engine.events import RequestFailed


def failure_of(event: RequestFailed) -> EngineError:
    """The cause itself if it is one of the engine's, else a `StepFailed` that it is chained to."""
    if isinstance(event.cause, EngineError):
        return event.cause
    failure = StepFailed("a request failed")
    failure.__cause__ = event.cause
    return failure
