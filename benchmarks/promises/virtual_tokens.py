"""What do 100 virtual tokens cost a request, once they are resident? Time to the first token, and throughput."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.contender import Run
from benchmarks.records import Record
from benchmarks.session import Session

FIRST_TOKEN = "time to first token s"
THROUGHPUT = "virtual tokens tokens/s"
VARIANTS = {"100 virtual tokens": 100, "no soft prompt": 0}


def measure(session: Session) -> Iterator[Record]:
    """First tokens of single requests of 40 text tokens, then a full batch; the order changes from round to round."""
    sizes = session.sizes
    with session.start("engine") as engine:
        engine.run(session.workload(2, num_requests=8, num_virtual_tokens=100, num_output=1))
        for number in session.rounds():
            order = sorted(VARIANTS, reverse=number % 2 > 0)
            for index, subject in enumerate(order):
                singles = session.workload(
                    20_000 + 4 * number + index,
                    num_requests=sizes.num_first_tokens,
                    num_virtual_tokens=VARIANTS[subject],
                    num_output=1,
                    prompt_lengths=(40, 40),
                    num_clients=1,
                )
                seconds = statistics.median(first_token_seconds(engine.run(singles)))
                yield session.record(FIRST_TOKEN, subject, number, seconds)
            for index, subject in enumerate(order):
                batch = session.workload(
                    20_002 + 4 * number + index,
                    num_requests=sizes.concurrency,
                    num_virtual_tokens=VARIANTS[subject],
                    num_output=sizes.num_output // 2,
                    prompt_lengths=(40, 40),
                )
                yield session.record(THROUGHPUT, subject, number, batch.num_output_tokens / engine.run(batch).seconds)


def first_token_seconds(run: Run) -> list[float]:
    """From sending to the first token, for each answer."""
    return [answer.token_s[0] - answer.sent_s for answer in run.answers]
