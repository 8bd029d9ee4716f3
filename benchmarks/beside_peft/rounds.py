"""Both sides in turn, round after round, and the ratios of what they took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.session import say
from benchmarks.spread import median_interval

NUM_REQUESTS, NUM_TASKS = 32, 8

Prompts = Sequence[tuple[int, ...]]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds of work. With one thread it reads CPU time, so that other work on the machine counts little."""

    num_threads: int

    def read(self) -> float:
        """Seconds since any point in the past."""
        return time.process_time() if self.num_threads == 1 else time.perf_counter()

    def time(self, work: Callable[..., _Result], *arguments: Any) -> tuple[float, _Result]:
        """The seconds of work on these arguments, and its result."""
        began = self.read()
        result = work(*arguments)
        return self.read() - began, result


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison. Requests take their tasks in turn.

    `engine` answers all prompts of a round. `peft` answers those whose indices it is given, one by one: it is as fast
    with some as with all. Both return answers by index. `bound`, if there is one, returns the seconds of the engine's
    linear layers alone for the round that it has just answered.
    """

    name: str
    make_prompts: Callable[[int], Prompts]
    engine: Callable[[Prompts], Mapping[int, Any]]
    peft: Callable[[Prompts, Sequence[int]], Mapping[int, Any]]
    are_equal: Callable[[Any, Any], bool]
    aim: float
    bound: Callable[[Clock], float] | None = None
    bound_aim: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a case gave, one value per round. The case itself is not kept: both sides are large."""

    name: str
    aim: float
    bound_aim: float
    over_peft: list[float] = field(default_factory=list)
    of_bound: list[float] = field(default_factory=list)


def measure(case: Case, num_rounds: int, clock: Clock) -> Measured:
    """Rounds of other prompts each; the first warms up. Raises AssertionError where an answer differs from PEFT's."""
    measured = Measured(case.name, case.aim, case.bound_aim)
    for number in range(num_rounds + 1):
        prompts = case.make_prompts(number)
        first = number * NUM_TASKS % NUM_REQUESTS
        indices = range(first, first + NUM_TASKS)  # one request of each task
        engine_s, answers = clock.time(case.engine, prompts)
        peft_s, expected = clock.time(case.peft, prompts, indices)
        for index, answer in expected.items():
            assert case.are_equal(answers[index], answer), f"{case.name}: request {index} is answered unlike PEFT"
        bound_s = None if case.bound is None else case.bound(clock)
        ratio = peft_s / len(indices) * len(prompts) / engine_s
        say(f"{case.name}, round {number}: {engine_s:.2f} s, {ratio:.2f} times PEFT, bound {bound_s}")
        if number:
            measured.over_peft.append(ratio)
            measured.of_bound.extend([] if bound_s is None else [bound_s / engine_s])
    return measured


def table(all_measured: Sequence[Measured]) -> str:
    """A Markdown table."""
    lines = ["| case | figure | median | 95 % of the median | rounds | aim |", "|---|---|---:|---|---:|---:|"]
    for each in all_measured:
        lines.append(_line(each.name, "times PEFT one by one", each.over_peft, each.aim))
        if each.of_bound:
            lines.append(_line(each.name, "share of its linear layers alone", each.of_bound, each.bound_aim))
    return "\n".join(lines)


def _line(name: str, figure: str, values: Sequence[float], aim: float) -> str:
    low, high = median_interval(values)
    median = statistics.median(values)
    return f"| {name} | {figure} | {median:.3g} | {low:.3g} to {high:.3g} | {len(values)} | {aim:g} |"
