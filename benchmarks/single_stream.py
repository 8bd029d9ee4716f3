"""One request at a time: tokens per second, the first token, and the time between tokens, beside llama.cpp.

This engine and server answer with a soft prompt, llama.cpp plain tokens: it has none.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
from collections.abc import Iterator

from benchmarks.contender import Answer
from benchmarks.process import ContenderProcess, ContenderUnavailable
from benchmarks.records import Record
from benchmarks.session import Session, say
from benchmarks.spread import percentile

THROUGHPUT = "one stream tokens/s"
FIRST_TOKEN = "one stream first token s"
BETWEEN_MEDIAN = "one stream between tokens, median s"
BETWEEN_P99 = "one stream between tokens, p99 s"

_ENTRANTS = {
    "engine": ("engine", {}),
    "http": ("http", {}),
    "llama.cpp F32": ("llama.cpp", {"weights": "F32"}),
    "llama.cpp Q8_0": ("llama.cpp", {"weights": "Q8_0"}),
}
_NUM_STREAMS = 4  # a round
_NUM_PROMPT = 24


def measure(session: Session) -> Iterator[Record]:
    """Every contender answers the same requests, one after the other; the order changes from round to round."""
    with contextlib.ExitStack() as exits:
        processes: dict[str, ContenderProcess] = {}
        for subject, (contender, settings) in _ENTRANTS.items():
            try:
                processes[subject] = exits.enter_context(session.start(contender, settings=settings))
            except ContenderUnavailable as error:
                say(f"{subject}: {error}")
        for number in session.rounds():
            first = number % max(1, len(processes))
            for subject in [*processes][first:] + [*processes][:first]:
                yield from _measure_one(session, subject, processes[subject], number)


def _measure_one(session: Session, subject: str, process: ContenderProcess, number: int) -> Iterator[Record]:
    workload = session.workload(
        4_000 + number,
        num_requests=_NUM_STREAMS,
        num_output=session.sizes.num_output,
        prompt_lengths=(_NUM_PROMPT, _NUM_PROMPT),
        num_clients=1,
    )
    run = process.run(workload)
    between = [gap for answer in run.answers for gap in gaps(answer)]
    yield session.record(THROUGHPUT, subject, number, workload.num_output_tokens / run.seconds)
    first = statistics.median(answer.token_s[0] - answer.sent_s for answer in run.answers)
    yield session.record(FIRST_TOKEN, subject, number, first)
    yield session.record(BETWEEN_MEDIAN, subject, number, statistics.median(between))
    yield session.record(BETWEEN_P99, subject, number, percentile(between, 0.99))


def gaps(answer: Answer) -> list[float]:
    """Seconds between one token of an answer and the next."""
    return [later - earlier for earlier, later in itertools.pairwise(answer.token_s)]
