"""What waits, one queue per task."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """A member of a queue. A lower `age` is served first, `arrived_at` is a monotonic time in seconds."""

    @property
    def task(self) -> str:
        """The fairness key."""

    @property
    def age(self) -> tuple[int, ...]:
        """The place in its task's queue, by priority first."""

    @property
    def arrived_at(self) -> float:
        """The time at which its request came."""


QueuedT = TypeVar("QueuedT", bound=Queued)


class WaitingQueues(Generic[QueuedT]):
    """Within a task by priority, then first come, first served. Only the engine thread calls this."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[QueuedT]] = {}

    def __iter__(self) -> Iterator[QueuedT]:
        return (member for queue in self._queues.values() for member in queue)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def tasks(self) -> Iterator[str]:
        """The tasks with a member that waits."""
        return iter(self._queues)

    def has(self, task: str) -> bool:
        """Whether a member of the task waits."""
        return task in self._queues

    def head(self, task: str) -> QueuedT:
        """The task's next member."""
        return self._queues[task][0]

    def lengths(self) -> dict[str, tuple[int, float]]:
        """The number of members of each task that waits, and the earliest arrival of their requests."""
        return {task: (len(queue), min(member.arrived_at for member in queue)) for task, queue in self._queues.items()}

    def add(self, member: QueuedT) -> None:
        """Queue a member at its request's place, whether it is new, a fork or preempted."""
        queue = self._queues.setdefault(member.task, deque())
        if not queue or queue[-1].age < member.age:
            queue.append(member)
        else:
            queue.insert(next(i for i, other in enumerate(queue) if other.age > member.age), member)

    def remove(self, member: QueuedT) -> None:
        """Take a member out, wherever it stands."""
        queue = self._queues[member.task]
        queue.remove(member)
        if not queue:
            del self._queues[member.task]
