"""The contenders side by side: the same workload, one after the other, round after round."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.contenders.base import Run, Setup
from benchmarks.models import BenchModel
from benchmarks.process import ContenderProcess, ContenderUnavailable
from benchmarks.records import Record
from benchmarks.sizes import Sizes
from benchmarks.workload import Workload, make_workload


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender in one of its settings. `subject` is its name in the records."""

    subject: str
    contender: str
    settings: dict[str, Any] = field(default_factory=dict)


ENTRANTS = (
    Entrant("peft", "peft"),
    Entrant("peft-batched", "peft-batched"),
    Entrant("transformers", "transformers"),
    Entrant("vllm-embeds", "vllm", {"embeds": True, "prefix_caching": True}),
    Entrant("vllm-embeds-uncached", "vllm", {"embeds": True, "prefix_caching": False}),
    Entrant("vllm-plain", "vllm", {"embeds": False, "prefix_caching": True}),
    Entrant("vllm-plain-uncached", "vllm", {"embeds": False, "prefix_caching": False}),
    Entrant("engine", "engine"),
    Entrant("http", "http"),
)


def compare(
    entrants: Sequence[Entrant], model: BenchModel, threads: int, sizes: Sizes, sitting: str
) -> Iterator[Record]:
    """Measure throughput in tokens a second, decode steps and prefill, and compare answers within each round."""
    with contextlib.ExitStack() as exits:
        processes: dict[str, ContenderProcess] = {}
        for entrant in entrants:
            setup = Setup(entrant.contender, model, threads, sizes.concurrency, entrant.settings)
            try:
                processes[entrant.subject] = exits.enter_context(ContenderProcess(setup))
                processes[entrant.subject].run(make_workload(model.vocab_size, seed=1, num_requests=8, num_output=2))
            except ContenderUnavailable as error:
                say(f"{entrant.subject}: {error}")
                processes.pop(entrant.subject, None)
        for number in range(sizes.rounds):
            order = list(processes)[number % max(1, len(processes)) :] + list(processes)[: number % len(processes)]
            yield from _round(number, order, processes, model, threads, sizes, sitting)


def _round(
    number: int,
    order: Sequence[str],
    processes: dict[str, ContenderProcess],
    model: BenchModel,
    threads: int,
    sizes: Sizes,
    sitting: str,
) -> Iterator[Record]:
    workload = make_workload(
        model.vocab_size, seed=1_000 + number, num_requests=sizes.num_requests, num_output=sizes.num_output
    )
    runs: dict[str, tuple[list[int], Run]] = {}
    for subject in order:
        asked = _sample(subject, workload, number, sizes)
        try:
            run = processes[subject].run(replace(workload, requests=tuple(workload.requests[i] for i in asked)))
        except ContenderUnavailable as error:
            say(f"{subject}: {error}")
            continue
        runs[subject] = asked, run
        say(f"round {number + 1}, {threads} thread(s), {subject}: {_tokens(run) / run.seconds:.1f} tokens/s")
    tokens_of = {
        subject: {index: answer.tokens for index, answer in zip(asked, run.answers, strict=True)}
        for subject, (asked, run) in runs.items()
    }
    for subject, (_, run) in runs.items():
        notes: dict[str, Any] = {"tokens": _tokens(run), "seconds": round(run.seconds, 3)} | run.counts
        for reference in ("peft", "engine"):
            if reference in tokens_of and reference != subject:
                notes[f"same as {reference}"] = agreement(tokens_of[subject], tokens_of[reference])
        yield Record(
            "throughput tokens/s",
            subject,
            model.name,
            threads,
            f"{sitting}-{number}",
            _tokens(run) / run.seconds,
            notes=notes,
        )


def _sample(subject: str, workload: Workload, number: int, sizes: Sizes) -> list[int]:
    """Indices of the requests that a contender answers in this round: all, or of a slow one some."""
    everything = range(len(workload.requests))
    if subject == "peft":
        first = number * sizes.num_sequential
        return [(first + place) % len(everything) for place in range(sizes.num_sequential)]
    if subject == "peft-batched":
        tasks = {(number * sizes.num_batched_tasks + place) % 8 for place in range(sizes.num_batched_tasks)}
        return [index for index in everything if workload.requests[index].task in tasks]
    return list(everything)


def agreement(answers: dict[int, tuple[int, ...]], reference: dict[int, tuple[int, ...]]) -> str:
    """How many of the answers that both have are the same, token for token."""
    both = answers.keys() & reference.keys()
    return f"{sum(answers[index] == reference[index] for index in both)} of {len(both)}"


def _tokens(run: Run) -> int:
    return sum(len(answer.tokens) for answer in run.answers)


def say(text: str) -> None:
    """Progress goes to standard error; standard output is for the table."""
    print(text, file=sys.stderr, flush=True)
