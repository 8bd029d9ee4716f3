"""The thresholds of the benchmark, and the figures that are compared with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import against_lower_bound, comparison, single_stream, start
from benchmarks.promises import abort, flood, mixed_tasks, publish, virtual_tokens, zipf
from benchmarks.records import Record
from benchmarks.spread import Spread, paired_ratios

Figure = Callable[[Sequence[Record]], Spread | None]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A row of the thresholds. `limit` and `stretch` are None where a figure is only reported.

    `is_ceiling` is True where a smaller figure is better.
    """

    what: str
    figure: Figure
    limit: float | None = None
    stretch: float | None = None
    is_ceiling: bool = False

    def verdict(self, value: float) -> str:
        """The one of the two that a value reaches."""
        if self.limit is None:
            return "reported"
        if self._reaches(value, self.stretch):
            return "stretch"
        return "yes" if self._reaches(value, self.limit) else "no"

    def _reaches(self, value: float, limit: float | None) -> bool:
        return limit is not None and (value <= limit if self.is_ceiling else value >= limit)


def ratio(measure: str, numerator: str, *denominators: str) -> Figure:
    """Round by round, `numerator` over the largest of the denominators."""

    def figure(records: Sequence[Record]) -> Spread | None:
        best: dict[str, float] = {}
        for subject in denominators:
            for key, value in _by_round(records, measure, subject).items():
                best[key] = max(value, best.get(key, 0.0))
        return Spread.of(paired_ratios(_by_round(records, measure, numerator), best))

    return figure


def value(measure: str, *subjects: str) -> Figure:
    """The figure itself, of all subjects or of these."""
    return lambda records: Spread.of(
        [
            record.value
            for record in records
            if record.measure == measure and (not subjects or record.subject in subjects)
        ]
    )


_EMBEDS = ("vllm-embeds", "vllm-embeds-uncached")
_PLAIN = ("vllm-plain", "vllm-plain-uncached")

THRESHOLDS = (
    Threshold("(e) engine over (a) PEFT, one by one", ratio(comparison.MEASURE, "engine", "peft"), 9, 12),
    Threshold("(e) over (b) PEFT, batched by task", ratio(comparison.MEASURE, "engine", "peft-batched")),
    Threshold("(e) over (c) transformers' batching", ratio(comparison.MEASURE, "engine", "transformers"), 2.4, 2.7),
    Threshold("(e) over (d) vLLM with embeds, its best", ratio(comparison.MEASURE, "engine", *_EMBEDS), 1.1, 1.25),
    Threshold("(e) over (d) vLLM with plain tokens, no soft prompt", ratio(comparison.MEASURE, "engine", *_PLAIN)),
    Threshold(
        "(e) decode at 32 against the lower bound",
        ratio(against_lower_bound.DECODE, "lower bound", "engine"),
        0.75,
        0.9,
    ),
    Threshold(
        "(e) decode at 1 against the lower bound",
        ratio(against_lower_bound.DECODE_ONE, "lower bound", "engine"),
        0.75,
        0.9,
    ),
    Threshold(
        "(e) prefill against the lower bound", ratio(against_lower_bound.PREFILL, "lower bound", "engine"), 0.75, 0.9
    ),
    Threshold("(f) HTTP over (g) llama.cpp F32", ratio(comparison.MEASURE, "http", "llama.cpp F32")),
    Threshold("(f) HTTP over (g) llama.cpp Q8_0", ratio(comparison.MEASURE, "http", "llama.cpp Q8_0")),
    Threshold(
        "one stream: (f) HTTP over (g) llama.cpp F32",
        ratio(single_stream.THROUGHPUT, "http", "llama.cpp F32"),
        1.0,
        1.1,
    ),
    Threshold(
        "one stream: (f) HTTP over (g) llama.cpp Q8_0", ratio(single_stream.THROUGHPUT, "http", "llama.cpp Q8_0")
    ),
    Threshold("one stream: (f) HTTP over (e)", ratio(single_stream.THROUGHPUT, "http", "engine")),
    Threshold("(f) HTTP over (e)", ratio(comparison.MEASURE, "http", "engine"), 0.92, 0.97),
    Threshold("64 tasks mixed over one task", ratio(mixed_tasks.MEASURE, "64 tasks", "1 task"), 0.98, 1.0),
    Threshold(
        "first token with 100 virtual tokens over none",
        ratio(virtual_tokens.FIRST_TOKEN, *virtual_tokens.VARIANTS),
        1.05,
        1.0,
        is_ceiling=True,
    ),
    Threshold(
        "throughput with 100 virtual tokens over none",
        ratio(virtual_tokens.THROUGHPUT, *virtual_tokens.VARIANTS),
        0.92,
        0.97,
    ),
    Threshold("publish to first token, ms", value(publish.MEASURE), 30, 10, is_ceiling=True),
    Threshold("CPU seconds to /ready", value(start.MEASURE, "http"), 6, 5, is_ceiling=True),
    Threshold("CPU seconds to ready of (g) llama.cpp F32", value(start.MEASURE, "llama.cpp F32")),
    Threshold("a flood's full steps added to another's p95", value(flood.MEASURE), 2, 1, is_ceiling=True),
    Threshold("Zipf over 10,000 tasks over 10 tasks", ratio(zipf.MEASURE, *zipf.VARIANTS)),
    Threshold("of that slowdown, explained by added prefills", value(zipf.EXPLAINED)),
    Threshold("steps until an abort's blocks are free", value(abort.MEASURE), 2, is_ceiling=True),
)


def _by_round(records: Sequence[Record], measure: str, subject: str) -> dict[str, float]:
    return {record.round: record.value for record in records if (record.measure, record.subject) == (measure, subject)}
