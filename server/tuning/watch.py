"""Looks over a run's shoulder: pure functions from its history to warnings in plain words."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from server.tuning.events import StepDone, TuningEvent, Validated, Warned

_WINDOW = 10
_PATIENT_STEPS = 40
_LEARNT = 0.98
_DIVERGED = 1.5
_OVERFITTED = 1.25
_LARGEST_RATIO = 0.5
_SMALLEST_RATIO = 1e-5


def warnings(history: Sequence[TuningEvent]) -> tuple[Warned, ...]:
    """What is to be said now and was not said before; each kind is said once a run."""
    said = {event.code for event in history if isinstance(event, Warned)}
    steps = [event for event in history if isinstance(event, StepDone)]
    validations = [event for event in history if isinstance(event, Validated)]
    step = steps[-1].step if steps else 0
    found = (*_of_loss(steps), *_of_updates(steps), *_of_validation(validations, steps))
    return tuple(Warned(step, code, message) for code, message in found if code not in said)


def _of_loss(steps: Sequence[StepDone]) -> Iterator[tuple[str, str]]:
    if len(steps) < 2 * _WINDOW:
        return
    losses = [step.loss for step in steps]
    first, last = statistics.fmean(losses[:_WINDOW]), statistics.fmean(losses[-_WINDOW:])
    windows = range(0, len(losses) - _WINDOW + 1, _WINDOW)
    lowest = min(statistics.fmean(losses[start : start + _WINDOW]) for start in windows)
    if last > _DIVERGED * lowest and last > first:
        yield (
            "diverging",
            f"the loss rises: {last:.3f} over the last {_WINDOW} steps, after {lowest:.3f} at its lowest. "
            "Try a third of the learning rate.",
        )
    elif len(steps) >= _PATIENT_STEPS and last > _LEARNT * first:
        yield (
            "not_learning",
            f"the loss has not fallen in {len(steps)} steps ({first:.3f} at first, {last:.3f} now). Try three "
            'times the learning rate, or "auto", and look at the preview of the examples.',
        )


def _of_updates(steps: Sequence[StepDone]) -> Iterator[tuple[str, str]]:
    if len(steps) < 2 * _WINDOW:
        return
    ratio = statistics.median(step.update_ratio for step in steps[-_WINDOW:])
    if ratio > _LARGEST_RATIO:
        message = f"each step changes the virtual tokens by {ratio:.0%} of their size: the learning rate is too high"
        yield "update_too_large", message
    elif ratio < _SMALLEST_RATIO and steps[-1].step < 0.9 * steps[-1].num_steps:
        message = f"a step changes the virtual tokens by {ratio:.1e} of their size only: the learning rate is too low"
        yield "update_too_small", message


def _of_validation(validations: Sequence[Validated], steps: Sequence[StepDone]) -> Iterator[tuple[str, str]]:
    """Overfitting: two validations in a row well above the best, while the training loss is below it."""
    if len(validations) < 3 or len(steps) < _WINDOW:
        return
    best = min(event.loss for event in validations)
    training = statistics.fmean(step.loss for step in steps[-_WINDOW:])
    if min(event.loss for event in validations[-2:]) > _OVERFITTED * best and training < best:
        yield (
            "overfitting",
            f"the loss on validation rises ({validations[-1].loss:.3f}, after {best:.3f}) while that on training falls "
            f"({training:.3f}): the prompt learns the examples by heart. More examples or fewer steps help.",
        )
