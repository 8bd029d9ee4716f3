"""Whose turn it is: vLLM serves in the order of arrival, so what it gets is chosen here.

The task that was served the fewest tokens is next. At most `max_running` sequences run, and their soft prompts
fit together into what the workers keep: a sequence in vLLM never waits for room there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.engine.thread.fairness import TokenCounters
from server.engine.thread.queues import WaitingQueues
from server.engine.usage import TaskUsage
from server.model.prefix import Prefix

_QUANTUM = 1024
"""Tokens that a task may be served more than one that waits for room; then it must wait too."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A sequence that waits for its turn, or has it. See `queues.Queued`."""

    task: str
    age: tuple[int, ...]
    arrived_at: float
    prefix: Prefix | None
    turn: asyncio.Future[None]
    is_running: bool = False


class Admission:
    """The sequences that run, and those that wait. `prefix_bytes` gives what a soft prompt takes by its length."""

    def __init__(self, max_running: int, max_prefix_bytes: int, prefix_bytes: Callable[[int], int]) -> None:
        self._max_running = max_running
        self._max_prefix_bytes = max_prefix_bytes
        self._prefix_bytes = prefix_bytes
        self._waiting: WaitingQueues[Waiting] = WaitingQueues()
        self._counters = TokenCounters()
        self._running: Counter[str] = Counter()  # by task
        self.leases: Counter[str] = Counter()  # running sequences by digest
        self._num_prefix_bytes = 0

    @property
    def num_running(self) -> int:
        """Sequences whose turn has come."""
        return self._running.total()

    @property
    def num_waiting(self) -> int:
        """Sequences that wait for their turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(
        self, task: str, age: tuple[int, ...], arrived_at: float, prefix: Prefix | None
    ) -> AsyncIterator[None]:
        """Wait for the turn of a sequence, and let others have theirs when the context closes."""
        waiting = Waiting(task, age, arrived_at, prefix, asyncio.get_running_loop().create_future())
        self._counters.open(task)
        self._waiting.add(waiting)
        try:
            self._admit()
            await waiting.turn
            yield
        finally:
            if waiting.is_running:
                self._leave(waiting)
            else:
                self._waiting.remove(waiting)
            self._counters.close(task)
            self._admit()

    def charge(self, task: str, num_tokens: int) -> None:
        """Count tokens that a task was served."""
        self._counters.charge(task, num_tokens)

    def usage(self) -> tuple[TaskUsage, ...]:
        """The sequences of each task. vLLM does not say whose its blocks are."""
        waits = self._waiting.lengths()
        tasks = []
        for task in {*self._running, *waits}:
            num_waiting, oldest = waits.get(task, (0, None))
            tasks.append(TaskUsage(task, self._running[task], num_waiting, oldest))
        return tuple(tasks)

    def _admit(self) -> None:
        while self.num_running < self._max_running and (waiting := self._next()) is not None:
            self._waiting.remove(waiting)
            self._enter(waiting)
            if not waiting.turn.done():  # or else it was cancelled just now, and leaves next
                waiting.turn.set_result(None)

    def _next(self) -> Waiting | None:
        """The first sequence of the task served least, or of one served little more where that does not fit."""
        tasks = sorted(self._waiting.tasks, key=self._counters.served)
        for task in tasks:
            if self._counters.served(task) > self._counters.served(tasks[0]) + _QUANTUM:
                return None
            if self._fits(self._waiting.head(task).prefix):
                return self._waiting.head(task)
        return None

    def _fits(self, prefix: Prefix | None) -> bool:
        if prefix is None or self.leases[prefix.digest]:
            return True
        return self._num_prefix_bytes + self._prefix_bytes(prefix.num_virtual_tokens) <= self._max_prefix_bytes

    def _enter(self, waiting: Waiting) -> None:
        waiting.is_running = True
        self._running[waiting.task] += 1
        if (prefix := waiting.prefix) is not None:
            if not self.leases[prefix.digest]:
                self._num_prefix_bytes += self._prefix_bytes(prefix.num_virtual_tokens)
            self.leases[prefix.digest] += 1

    def _leave(self, waiting: Waiting) -> None:
        _take_one(self._running, waiting.task)
        if (prefix := waiting.prefix) is not None:
            _take_one(self.leases, prefix.digest)
            if not self.leases[prefix.digest]:
                self._num_prefix_bytes -= self._prefix_bytes(prefix.num_virtual_tokens)


def _take_one(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
