"""What all kinds of open requests have in common: tasks that run its sequences, and events in one queue."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from server.engine.errors import EngineError, StepFailed
from server.engine.events import TERMINAL, EngineEvent, RequestFailed, RequestFinished
from server.engine.request import Kind, Request
from server.engine.vllm.sequences import Sequences


class OpenRequest(ABC):
    """A request that has not ended. It ends in exactly one terminal event, which calls `on_end` with it.

    `arrival` counts requests; `arrived_at` is a monotonic time in seconds.
    """

    def __init__(
        self,
        request: Request[Kind],
        sequences: Sequences,
        arrival: int,
        arrived_at: float,
        on_end: Callable[[OpenRequest, EngineEvent], None],
    ) -> None:
        self.request = request
        self.sequences = sequences
        self.arrival = arrival
        self.arrived_at = arrived_at
        self.events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.is_over = False
        self.is_aborted = False
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def start(self) -> None:
        """Begin to run its sequences."""

    @abstractmethod
    def abort(self, choice: int | None) -> None:
        """End the request, or one of its choices. See `RequestRunner`."""

    def emit(self, event: EngineEvent) -> None:
        """Hand an event to the reader. After the terminal one, nothing is handed out, and nothing runs."""
        if self.is_over:
            return
        self.events.put_nowait(event)
        if isinstance(event, TERMINAL):
            self.is_over = True
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()
            self._on_end(self, event)

    def abort_all(self) -> None:
        """End the request at its reader's wish."""
        if not self.is_over:
            self.is_aborted = True
            self.emit(RequestFinished())

    def fail(self, cause: BaseException) -> None:
        """End the request with its cause."""
        self.emit(RequestFailed(cause))

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run a part of the request. What it raises ends the request."""
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def ended(self) -> None:
        """Return once nothing of the request runs any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except EngineError as error:
            self.fail(error)
        except Exception as error:
            failure = StepFailed("a request failed in vLLM")
            failure.__cause__ = error
            self.fail(failure)
