"""(b) PEFT batching the requests of each task, padded on the left.

PEFT puts the virtual tokens before the padding, and the text's rotary positions count the padding: answers differ.
"""

from __future__ import annotations

import time

from benchmarks.contender import Answer, Run, Setup
from benchmarks.contenders.peft_model import PeftTasks
from benchmarks.workload import Workload


class PeftBatchedContender:
    """One batch a task, at most as large as the setup allows."""

    def __init__(self, setup: Setup) -> None:
        self._tasks = PeftTasks(setup)
        self._max_batch = setup.max_num_seqs

    def run(self, workload: Workload) -> Run:
        """See `Contender`."""
        answers: dict[int, Answer] = {}
        began = time.perf_counter()
        for batch in self._batches(workload):
            requests = [workload.requests[index] for index in batch]
            model = self._tasks.select(requests[0].task, workload.num_virtual_tokens)
            outputs = self._tasks.generate(
                model, [request.prompt for request in requests], max(request.num_output for request in requests)
            )
            finished = time.perf_counter() - began
            for index, request, tokens in zip(batch, requests, outputs, strict=True):
                answers[index] = Answer(tokens[: request.num_output], 0.0, finished)
        return Run(time.perf_counter() - began, tuple(answers[index] for index in range(len(answers))))

    def close(self) -> None:
        """See `Contender`."""

    def _batches(self, workload: Workload) -> list[list[int]]:
        by_task: dict[int | None, list[int]] = {}
        for index, request in enumerate(workload.requests):
            by_task.setdefault(request.task, []).append(index)
        size = self._max_batch
        return [group[first : first + size] for group in by_task.values() for first in range(0, len(group), size)]
