"""Whose turn it is: vLLM serves in the order of arrival, so what it gets is chosen here.

There are three lanes: live requests, captures ahead of use, and batches. A lane begins a sequence only while nothing
waits in those before it; that of batches also keeps to its share (`batch_share.py`). Within a lane, the task that was
served the fewest tokens is next. At most `max_running` sequences run, and their soft prompts fit together into what the
workers keep: a sequence in vLLM never waits for room there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from server.engine.thread.fairness import TokenCounters
from server.engine.thread.queues import WaitingQueues
from server.engine.usage import TaskUsage
from server.engine.vllm.batch_share import BatchShare
from server.model.prefix import Prefix

_QUANTUM = 1024
"""Tokens that a task may be served more than one that waits for room; then it must wait too."""


class Lane(IntEnum):
    """Kinds of sequences, by who goes first."""

    LIVE = 0
    CAPTURE = 1
    BATCH = 2


@dataclass(slots=True, eq=False)
class Waiting:
    """A sequence that waits for its turn, or has it. See `queues.Queued`."""

    lane: Lane
    task: str
    age: tuple[int, ...]
    arrived_at: float
    prefix: Prefix | None
    turn: asyncio.Future[None]
    is_running: bool = False


@dataclass(slots=True, eq=False)
class _Queue:
    """What waits and runs in one lane. A batch costs its task nothing in the live lane."""

    waiting: WaitingQueues[Waiting] = field(default_factory=WaitingQueues)
    running: Counter[str] = field(default_factory=Counter)  # by task
    counters: TokenCounters = field(default_factory=TokenCounters)

    def by_turn(self) -> list[Waiting]:
        """The next sequence of each task, first that of the task served least."""
        heads = map(self.waiting.head, self.waiting.tasks)
        return sorted(heads, key=lambda head: self.counters.served(head.task))


class Admission:
    """The sequences that run, and those that wait. `prefix_bytes` gives what a soft prompt takes by its length.

    `batch_share` is the share of batches while live sequences are open.
    """

    def __init__(
        self,
        max_running: int,
        max_prefix_bytes: int,
        prefix_bytes: Callable[[int], int],
        batch_share: float = 0.0,
    ) -> None:
        self._max_running = max_running
        self._max_prefix_bytes = max_prefix_bytes
        self._prefix_bytes = prefix_bytes
        self._lanes = {lane: _Queue() for lane in Lane}
        self._share = BatchShare(batch_share, max_running)
        self.leases: Counter[str] = Counter()  # running sequences by digest
        self._num_prefix_bytes = 0

    def num_running(self, lane: Lane) -> int:
        """Sequences of a lane whose turn has come."""
        return self._lanes[lane].running.total()

    def num_waiting(self, lane: Lane) -> int:
        """Sequences of a lane that wait for their turn."""
        return len(self._lanes[lane].waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return not self._num_running

    @asynccontextmanager
    async def turn(
        self, lane: Lane, task: str, age: tuple[int, ...], arrived_at: float, prefix: Prefix | None
    ) -> AsyncIterator[None]:
        """Wait for the turn of a sequence, and let others have theirs when the context closes."""
        waiting = Waiting(lane, task, age, arrived_at, prefix, asyncio.get_running_loop().create_future())
        queue = self._lanes[lane]
        queue.counters.open(task)
        queue.waiting.add(waiting)
        try:
            self._admit()
            await waiting.turn
            yield
        finally:
            if waiting.is_running:
                self._leave(waiting)
            else:
                queue.waiting.remove(waiting)
            queue.counters.close(task)
            self._admit()

    def charge(self, lane: Lane, task: str, num_tokens: int) -> None:
        """Count tokens that a task was served."""
        self._lanes[lane].counters.charge(task, num_tokens)
        if self._has_live:
            self._share.charge(num_tokens, is_batch=lane is Lane.BATCH)
            if lane is Lane.LIVE and self._lanes[Lane.BATCH].waiting:
                self._admit()

    def usage(self) -> tuple[TaskUsage, ...]:
        """The sequences of each task. vLLM does not say whose its blocks are."""
        running: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        for queue in self._lanes.values():
            running.update(queue.running)
            for task, (number, arrived_at) in queue.waiting.lengths().items():
                waiting[task] += number
                oldest[task] = min(arrived_at, oldest.get(task, arrived_at))
        return tuple(TaskUsage(task, running[task], waiting[task], oldest.get(task)) for task in {**running, **waiting})

    @property
    def _num_running(self) -> int:
        return sum(queue.running.total() for queue in self._lanes.values())

    @property
    def _has_live(self) -> bool:
        live = self._lanes[Lane.LIVE]
        return bool(live.running) or bool(live.waiting)

    def _admit(self) -> None:
        while self._num_running < self._max_running and (waiting := self._next()) is not None:
            self._lanes[waiting.lane].waiting.remove(waiting)
            self._enter(waiting)
            if not waiting.turn.done():  # or else it was cancelled just now, and leaves next
                waiting.turn.set_result(None)

    def _next(self) -> Waiting | None:
        """The next sequence of the first lane that has one."""
        lane = next((lane for lane, queue in self._lanes.items() if queue.waiting), None)
        if lane is None:
            return None
        if lane is Lane.BATCH:
            num_batch, num_live = self.num_running(Lane.BATCH), self.num_running(Lane.LIVE)  # none of these waits
            if not self._share.permits(num_batch=num_batch, num_live=num_live):
                return None
        return self._next_of(self._lanes[lane])

    def _next_of(self, queue: _Queue) -> Waiting | None:
        """The first sequence of the task served least, or of one served little more where that does not fit."""
        heads = queue.by_turn()
        most = queue.counters.served(heads[0].task) + _QUANTUM
        near = (head for head in heads if queue.counters.served(head.task) <= most)
        return next((head for head in near if self._fits(head.prefix)), None)

    def _fits(self, prefix: Prefix | None) -> bool:
        if prefix is None or self.leases[prefix.digest]:
            return True
        return self._num_prefix_bytes + self._prefix_bytes(prefix.num_virtual_tokens) <= self._max_prefix_bytes

    def _enter(self, waiting: Waiting) -> None:
        waiting.is_running = True
        self._lanes[waiting.lane].running[waiting.task] += 1
        if (prefix := waiting.prefix) is not None:
            if not self.leases[prefix.digest]:
                self._num_prefix_bytes += self._prefix_bytes(prefix.num_virtual_tokens)
            self.leases[prefix.digest] += 1

    def _leave(self, waiting: Waiting) -> None:
        _take_one(self._lanes[waiting.lane].running, waiting.task)
        if (prefix := waiting.prefix) is not None:
            _take_one(self.leases, prefix.digest)
            if not self.leases[prefix.digest]:
                self._num_prefix_bytes -= self._prefix_bytes(prefix.num_virtual_tokens)


def _take_one(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
