"""The tables, made from records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.records import Record
from benchmarks.spread import Spread, paired_ratios


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the targets: how its figure comes from records, and what is to be reached.

    `at_least` is False where a smaller figure is better.
    """

    what: str
    figure: Callable[[Sequence[Record]], Spread | None]
    least: float | None
    stretch: float | None
    at_least: bool = True


def ratio(measure: str, numerator: str, denominators: Sequence[str]) -> Callable[[Sequence[Record]], Spread | None]:
    """Round by round, `numerator` over the largest of the denominators."""

    def figure(records: Sequence[Record]) -> Spread | None:
        best: dict[str, float] = {}
        for subject in denominators:
            for key, value in _by_round(records, measure, subject).items():
                best[key] = max(value, best.get(key, 0.0))
        return Spread.of(paired_ratios(_by_round(records, measure, numerator), best))

    return figure


TARGETS = (
    Target("(e) engine over (a) PEFT, one by one", ratio("throughput tokens/s", "engine", ["peft"]), 9, 12),
    Target("(e) over (c) transformers' batching", ratio("throughput tokens/s", "engine", ["transformers"]), 2.4, 2.7),
    Target(
        "(e) over (d) vLLM with embeds, its best setting",
        ratio("throughput tokens/s", "engine", ["vllm-embeds", "vllm-embeds-uncached"]),
        1.1,
        1.25,
    ),
    Target("decode at 32 against the floor", ratio("decode step s", "floor", ["engine"]), 0.75, 0.9),
    Target("prefill against the floor", ratio("prefill of 512 s", "floor", ["engine"]), 0.75, 0.9),
    Target("(f) HTTP over (e)", ratio("throughput tokens/s", "http", ["engine"]), 0.92, 0.97),
)


def print_report(records: Sequence[Record]) -> None:
    """Print the measurements, then the targets with their figures, for each model and number of threads."""
    for model, threads in sorted({(record.model, record.threads) for record in records}):
        chosen = [record for record in records if (record.model, record.threads) == (model, threads)]
        print(f"\n### {model}, {threads} thread{'s' if threads > 1 else ''}\n")
        print_table(["measured", "of", "median", "lowest", "highest", "repeats", "remarks"], _measured(chosen))
        print()
        print_table(["what", "figure", "spread", "at least", "stretch", "reached"], _targets(chosen))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _measured(records: Sequence[Record]) -> Iterable[Sequence[str]]:
    for measure, subject in dict.fromkeys((record.measure, record.subject) for record in records if record.x is None):
        of_it = [record for record in records if (record.measure, record.subject, record.x) == (measure, subject, None)]
        spread = Spread.of([record.value for record in of_it])
        assert spread is not None
        remarks = "; ".join(f"{key} {value}" for key, value in of_it[-1].notes.items() if key.startswith("same"))
        numbers = (f"{number:.4g}" for number in (spread.median, spread.low, spread.high))
        yield measure, subject, *numbers, str(spread.num_repeats), remarks


def _targets(records: Sequence[Record]) -> Iterable[Sequence[str]]:
    for target in TARGETS:
        spread = target.figure(records)
        if spread is None:
            yield target.what, "not measured", "", _limit(target, target.least), _limit(target, target.stretch), ""
            continue
        yield (
            target.what,
            f"{spread.median:.3g}",
            f"{spread.low:.3g} to {spread.high:.3g} of {spread.num_repeats}",
            _limit(target, target.least),
            _limit(target, target.stretch),
            _verdict(target, spread.median),
        )


def _limit(target: Target, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if target.at_least else f"at most {value:g}"


def _verdict(target: Target, value: float) -> str:
    def is_reached(limit: float | None) -> bool:
        return limit is not None and (value >= limit if target.at_least else value <= limit)

    if is_reached(target.stretch):
        return "stretch"
    return "yes" if is_reached(target.least) else "no" if target.least is not None else ""


def _by_round(records: Sequence[Record], measure: str, subject: str) -> dict[str, float]:
    return {record.round: record.value for record in records if (record.measure, record.subject) == (measure, subject)}
