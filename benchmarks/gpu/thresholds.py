"""The thresholds of the benchmark on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import comparison
from benchmarks.gpu.sections import decode_measure
from benchmarks.promises import mixed_tasks
from benchmarks.thresholds import Threshold, ratio

_LIMIT_SHARES = {1: 0.8, 64: 0.8}


def thresholds(batches: Sequence[int]) -> tuple[Threshold, ...]:
    """The thresholds, and the figures that are only reported, in the order of the table."""
    return (
        *(
            Threshold(
                f"decode at batch {batch}, share of the memory's limit",
                ratio(decode_measure(batch), "limit", "engine"),
                _LIMIT_SHARES.get(batch),
            )
            for batch in batches
        ),
        Threshold("64 tasks mixed over one task", ratio(mixed_tasks.MEASURE, "64 tasks", "1 task"), 0.98),
        Threshold("engine over (c) transformers' batching", ratio(comparison.MEASURE, "engine", "transformers"), 2),
        Threshold("engine over (a) PEFT, one by one", ratio(comparison.MEASURE, "engine", "peft")),
    )
