"""Histories of runs as a test draws them: losses, ratios and validations by step."""

from __future__ import annotations

from collections.abc import Iterable

from server.tuning.events import StepDone, TuningEvent, Validated
from server.tuning.history import History


def steps(losses: Iterable[float], *, update_ratio: float = 0.01, num_steps: int = 1000) -> list[TuningEvent]:
    """One step a loss, all alike but for that."""
    return [
        StepDone(number, num_steps, loss, 0.1, 1.0, update_ratio, 0.5, num_tokens=10)
        for number, loss in enumerate(losses, start=1)
    ]


def validated(step: int, loss: float) -> Validated:
    """A validation of this loss."""
    return Validated(step, loss, token_accuracy=0.5, exact_match=0.5, is_best=False)


def remembered(events: Iterable[TuningEvent]) -> History:
    """What a run remembers of these events."""
    history = History()
    for event in events:
        history.add(event)
    return history
