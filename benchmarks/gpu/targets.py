"""What is to be reached on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import comparison
from benchmarks.gpu.sections import decode_measure
from benchmarks.promises import mixed_tasks
from benchmarks.targets import Target, ratio

_LIMIT_SHARES = {1: 0.8, 64: 0.8}


def targets(batches: Sequence[int]) -> tuple[Target, ...]:
    """The aims, and what is only reported, in the order of the table."""
    return (
        *(
            Target(
                f"decode at batch {batch}, share of the memory's limit",
                ratio(decode_measure(batch), "limit", "engine"),
                _LIMIT_SHARES.get(batch),
            )
            for batch in batches
        ),
        Target("64 tasks mixed over one task", ratio(mixed_tasks.MEASURE, "64 tasks", "1 task"), 0.98),
        Target("engine over (c) transformers' batching", ratio(comparison.MEASURE, "engine", "transformers"), 2),
        Target("engine over (a) PEFT, one by one", ratio(comparison.MEASURE, "engine", "peft")),
    )
