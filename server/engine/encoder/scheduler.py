"""The requests of the next step.

The best priority comes first, and among equals the task that was served least. Within a task and a priority, the order
is first come, first served. A request that no longer fits ends the plan, so that a long one is never passed over.
"""

from __future__ import annotations

import heapq

from server.engine.encoder.open_request import OpenRequest
from server.engine.encoder.options import EncoderOptions
from server.engine.thread.fairness import TokenCounters
from server.engine.thread.queues import WaitingQueues


class EncoderScheduler:
    """Plans steps. Only the engine thread calls this."""

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options
        self.waiting: WaitingQueues[OpenRequest] = WaitingQueues()
        self._counters = TokenCounters()

    def add(self, request: OpenRequest) -> None:
        """Queue a request."""
        self._counters.open(request.task)
        self.waiting.add(request)

    def remove(self, request: OpenRequest) -> None:
        """Take a request that waits out."""
        self.waiting.remove(request)
        self._counters.close(request.task)

    def take_batch(self) -> list[OpenRequest]:
        """The requests of the next step, at least one if any waits. They wait no longer, and are charged."""
        batch: list[OpenRequest] = []
        num_rows = 0
        order = [self._turn(task) for task in self.waiting.tasks]
        heapq.heapify(order)
        while order and len(batch) < self._options.max_num_seqs:
            *_, task = heapq.heappop(order)
            request = self.waiting.head(task)
            num_rows += request.input.num_rows
            if batch and num_rows > self._options.max_batch_tokens:
                break
            self.waiting.remove(request)
            self._counters.charge(task, request.input.num_rows)
            batch.append(request)
            if self.waiting.has(task):
                heapq.heappush(order, self._turn(task))
        for request in batch:
            self._counters.close(request.task)
        return batch

    def _turn(self, task: str) -> tuple[int, int, int, str]:
        priority, arrival = self.waiting.head(task).age
        return priority, self._counters.served(task), arrival, task
