"""The tables, made from records alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from benchmarks.records import Record
from benchmarks.spread import Spread
from benchmarks.thresholds import THRESHOLDS, Threshold

_AGREEMENT = re.compile(r"(\d+) of (\d+)")


def report(records: Sequence[Record], wanted: Sequence[Threshold] = THRESHOLDS) -> str:
    """The thresholds with their figures, then everything that was measured, as Markdown."""
    sessions = sorted({(record.model, record.threads) for record in records}, key=lambda each: (each[1], each[0]))
    chosen = {
        (model, threads): [record for record in records if (record.model, record.threads) == (model, threads)]
        for model, threads in sessions
    }
    thresholds = [row for threshold in wanted for row in _threshold_rows(threshold, chosen)]
    measured = [row for key in sessions for row in _measured_rows(chosen[key])]
    return "\n".join(
        [
            *_table(
                ["what", "model", "threads", "figure", "lowest to highest", "threshold", "stretch", ""], thresholds
            ),
            "",
            *_table(["measured", "of", "model", "threads", "median", "lowest to highest", "remarks"], measured),
        ]
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _threshold_rows(threshold: Threshold, chosen: dict[tuple[str, int], list[Record]]) -> Iterator[Sequence[str]]:
    limits = _limit(threshold, threshold.limit), _limit(threshold, threshold.stretch)
    spreads = {key: spread for key, records in chosen.items() if (spread := threshold.figure(records)) is not None}
    for (model, threads), spread in spreads.items():
        yield (
            threshold.what,
            model,
            str(threads),
            _number(spread.median),
            _range(spread),
            *limits,
            threshold.verdict(spread.median),
        )
    if not spreads:
        yield threshold.what, "", "", "not measured", "", *limits, ""


def _measured_rows(records: Sequence[Record]) -> Iterator[Sequence[str]]:
    for measure, subject in dict.fromkeys((record.measure, record.subject) for record in records if record.x is None):
        own = [record for record in records if (record.measure, record.subject) == (measure, subject)]
        spread = Spread.of([record.value for record in own])
        assert spread is not None
        yield measure, subject, own[0].model, str(own[0].threads), _number(spread.median), _range(spread), _remarks(own)


def _remarks(records: Sequence[Record]) -> str:
    """Agreements summed over the rounds; of other notes the last round's, lists left to the plots."""
    sums: dict[str, tuple[int, int]] = {}
    others: dict[str, str] = {}
    for record in records:
        for key, note in record.notes.items():
            if isinstance(note, str) and (found := _AGREEMENT.fullmatch(note)):
                same, both = sums.get(key, (0, 0))
                sums[key] = same + int(found[1]), both + int(found[2])
            elif isinstance(note, int | float) and key not in ("tokens", "seconds"):
                others[key] = f"{note:g}"
    return "; ".join([f"{key}: {same} of {both}" for key, (same, both) in sums.items()] + _pairs(others))


def _pairs(notes: dict[str, str]) -> list[str]:
    return [f"{key}: {note}" for key, note in notes.items()]


def _limit(threshold: Threshold, value: float | None) -> str:
    if value is None:
        return ""
    return f"at most {value:g}" if threshold.is_ceiling else f"{value:g}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _range(spread: Spread) -> str:
    if spread.num_repeats == 1:
        return "once"
    return f"{_number(spread.low)} to {_number(spread.high)} ({spread.num_repeats})"
