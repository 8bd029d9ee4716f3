"""Does a batch of 64 tasks cost more than one of a single task? The same requests, once each way."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.records import Record
from benchmarks.session import Session

MEASURE = "mixed tasks tokens/s"
NUM_TASKS = 64


def measure(session: Session) -> Iterator[Record]:
    """Throughput of 64 requests at once, every soft prompt resident; the order changes from round to round."""
    num_output = session.sizes.num_output // 3
    variants = {"64 tasks": NUM_TASKS, "1 task": 1}
    with session.start("engine", max_num_seqs=64) as engine:
        for num_tasks in variants.values():
            engine.run(session.workload(2, num_requests=64, num_tasks=num_tasks, num_output=1, prompt_lengths=(4, 4)))
        for number in session.rounds():
            for subject in sorted(variants, reverse=number % 2 > 0):
                workload = session.workload(
                    10_000 + 2 * number + (subject == "1 task"),
                    num_requests=64,
                    num_tasks=variants[subject],
                    num_output=num_output,
                    prompt_lengths=(40, 40),
                )
                run = engine.run(workload)
                yield session.record(MEASURE, subject, number, workload.num_output_tokens / run.seconds, **run.counts)
