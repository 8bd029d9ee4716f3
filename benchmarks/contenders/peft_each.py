"""(a) PEFT as a user would write it: `set_adapter` and `generate`, one after the other. The oracle."""

from __future__ import annotations

import time

from benchmarks.contender import Answer, Run, Setup
from benchmarks.contenders.peft_model import PeftTasks
from benchmarks.workload import Workload


class PeftEachContender:
    """One request at a time."""

    def __init__(self, setup: Setup) -> None:
        self._tasks = PeftTasks(setup)

    def run(self, workload: Workload) -> Run:
        """See `Contender`."""
        answers = []
        began = time.perf_counter()
        for request in workload.requests:
            sent = time.perf_counter() - began
            model = self._tasks.select(request.task, workload.num_virtual_tokens)
            (tokens,) = self._tasks.generate(model, [request.prompt], request.num_output)
            answers.append(Answer(tokens, sent, time.perf_counter() - began))
        return Run(time.perf_counter() - began, tuple(answers))

    def close(self) -> None:
        """See `Contender`."""
