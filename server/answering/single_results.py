"""Requests that end in one result each: they run together, and their results come in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Generic, TypeVar

from server.answering.engine_failure import failure_of
from server.engine.client import RequestRunner
from server.engine.events import Encoded, RequestFailed, Scored
from server.engine.request import Encode, Request, Score

ResultT = TypeVar("ResultT", Scored, Encoded)


class SingleResults(Generic[ResultT]):
    """Requests that run together, with the interface of `Generation`.

    Iterating yields their results in order, once all are complete. `close` ends the requests that still run.
    """

    num_output_tokens = 0

    def __init__(
        self, engine: RequestRunner, requests: Sequence[Request[Score] | Request[Encode]], kind: type[ResultT]
    ) -> None:
        self._running: list[asyncio.Task[ResultT]] = [
            asyncio.create_task(result_of(engine, request, kind)) for request in requests
        ]

    async def __aiter__(self) -> AsyncIterator[ResultT]:
        """Every request's result. Raises `EngineError` when one fails."""
        for result in await asyncio.gather(*self._running):
            yield result

    def close(self) -> None:
        """End the requests that still run."""
        for each in self._running:
            each.cancel()


async def result_of(engine: RequestRunner, request: Request[Score] | Request[Encode], kind: type[ResultT]) -> ResultT:
    """The result of one request. Raises `EngineError`."""
    result: ResultT | None = None
    async for event in engine.stream(request):
        if isinstance(event, kind):
            result = event
        elif isinstance(event, RequestFailed):
            raise failure_of(event)
    assert result is not None, "such a request ends with its result or its failure"
    return result
