"""The sequences that wait, one queue per task."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from server.engine.paged.sequence import Sequence


class WaitingQueues:
    """Within a task by priority, then first come, first served. Only the engine thread calls this."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Sequence]] = {}

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for queue in self._queues.values() for sequence in queue)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def tasks(self) -> Iterator[str]:
        """The tasks with a sequence that waits."""
        return iter(self._queues)

    def has(self, task: str) -> bool:
        """Whether a sequence of the task waits."""
        return task in self._queues

    def head(self, task: str) -> Sequence:
        """The task's next sequence."""
        return self._queues[task][0]

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence at its request's place, whether it is new, a fork or preempted."""
        queue = self._queues.setdefault(sequence.task, deque())
        if not queue or age(queue[-1]) < age(sequence):
            queue.append(sequence)
        else:
            queue.insert(next(i for i, other in enumerate(queue) if age(other) > age(sequence)), sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it stands."""
        queue = self._queues[sequence.task]
        queue.remove(sequence)
        if not queue:
            del self._queues[sequence.task]


def age(sequence: Sequence) -> tuple[int, int, int]:
    """The order within a task: by priority, then requests by arrival, then their choices."""
    return sequence.group.request.priority, sequence.group.arrival, sequence.choice
