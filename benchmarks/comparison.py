"""The contenders side by side: the same workload, one after the other, round after round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.contender import Run
from benchmarks.process import ContenderProcess, ContenderUnavailable
from benchmarks.records import Record
from benchmarks.session import Session, say
from benchmarks.sizes import Sizes
from benchmarks.workload import Workload

MEASURE = "throughput tokens/s"


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender in one of its settings. `subject` is its name in the records.

    Those with `is_everywhere` also run with two threads and on the demo model when nothing was chosen.
    """

    subject: str
    contender: str
    settings: dict[str, Any] = field(default_factory=dict)
    is_everywhere: bool = False


ENTRANTS = (
    Entrant("peft", "peft", is_everywhere=True),
    Entrant("peft-batched", "peft-batched"),
    Entrant("transformers", "transformers", is_everywhere=True),
    Entrant("vllm-embeds", "vllm", {"embeds": True, "prefix_caching": True}, is_everywhere=True),
    Entrant("vllm-embeds-uncached", "vllm", {"embeds": True, "prefix_caching": False}),
    Entrant("vllm-plain", "vllm", {"embeds": False, "prefix_caching": True}),
    Entrant("vllm-plain-uncached", "vllm", {"embeds": False, "prefix_caching": False}),
    Entrant("llama.cpp F32", "llama.cpp", {"weights": "F32"}, is_everywhere=True),
    Entrant("llama.cpp Q8_0", "llama.cpp", {"weights": "Q8_0"}, is_everywhere=True),
    Entrant("engine", "engine", is_everywhere=True),
    Entrant("http", "http", is_everywhere=True),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a contender did in a round: which requests it was asked, by index, and its run."""

    indices: tuple[int, ...]
    run: Run

    @property
    def tokens(self) -> dict[int, tuple[int, ...]]:
        """Tokens by the request's index."""
        return {index: answer.tokens for index, answer in zip(self.indices, self.run.answers, strict=True)}


def compare(entrants: Sequence[Entrant], session: Session) -> Iterator[Record]:
    """Throughput of each contender, and how many of its answers are another's, token for token."""
    with contextlib.ExitStack() as exits:
        processes: dict[str, ContenderProcess] = {}
        for entrant in entrants:
            try:
                start = session.start(entrant.contender, settings=entrant.settings)
                processes[entrant.subject] = exits.enter_context(start)
            except ContenderUnavailable as error:
                say(f"{entrant.subject}: {error}")
        for number in session.rounds():
            first = number % max(1, len(processes))
            order = [*processes][first:] + [*processes][:first]
            answered = _answer_all(number, {subject: processes[subject] for subject in order}, session)
            yield from _records(number, answered, session)


def _answer_all(number: int, processes: dict[str, ContenderProcess], session: Session) -> dict[str, Answered]:
    sizes = session.sizes
    workload = session.workload(1_000 + number, num_requests=sizes.num_requests, num_output=sizes.num_output)
    answered = {}
    for subject, process in processes.items():
        indices = sample(subject, workload, number, sizes)
        asked = replace(workload, requests=tuple(workload.requests[index] for index in indices))
        try:
            answered[subject] = Answered(indices, process.run(asked))
        except ContenderUnavailable as error:
            say(f"{subject}: {error}")
    return answered


def _records(number: int, answered: dict[str, Answered], session: Session) -> Iterator[Record]:
    for subject, own in answered.items():
        num_tokens = sum(map(len, own.tokens.values()))
        notes: dict[str, Any] = {"tokens": num_tokens, "seconds": round(own.run.seconds, 3)}
        for reference in ("peft", "engine"):
            if reference in answered and reference != subject:
                notes[f"same as {reference}"] = agreement(own.tokens, answered[reference].tokens)
        first_tokens = [answer.token_s[0] - answer.sent_s for answer in own.run.answers if answer.token_s]
        if first_tokens:
            notes["first token s"] = [round(seconds, 4) for seconds in first_tokens]
        yield session.record(MEASURE, subject, number, num_tokens / own.run.seconds, **notes)


def sample(subject: str, workload: Workload, number: int, sizes: Sizes) -> tuple[int, ...]:
    """Indices of the requests that a contender answers in a round: as many as are computed at once, the next ones.

    A contender that computes one request, or one task, after the other is as fast with some of them as with all.
    """
    num_requests = len(workload.requests)
    first = number * sizes.concurrency % num_requests
    wave = tuple(range(first, min(first + sizes.concurrency, num_requests)))
    if subject == "peft":
        offset = number * sizes.num_sequential
        return tuple(wave[(offset + place) % len(wave)] for place in range(sizes.num_sequential))
    if subject == "peft-batched":
        tasks = {(number * sizes.num_batched_tasks + place) % 8 for place in range(sizes.num_batched_tasks)}
        return tuple(index for index in range(num_requests) if workload.requests[index].task in tasks)
    return wave


def agreement(answers: dict[int, tuple[int, ...]], reference: dict[int, tuple[int, ...]]) -> str:
    """How many of the answers that both have are the same, token for token."""
    both = answers.keys() & reference.keys()
    return f"{sum(answers[index] == reference[index] for index in both)} of {len(both)}"
