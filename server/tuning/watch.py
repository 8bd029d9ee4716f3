"""Warnings about a run, computed from its history, in plain words."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from server.tuning.events import Warned
from server.tuning.history import WINDOW, History

_PATIENT_STEPS = 40
_LEARNT = 0.98
_DIVERGED = 1.5
_OVERFITTED = 1.25
_LARGEST_RATIO = 0.5
_SMALLEST_RATIO = 1e-5


def warnings(history: History) -> tuple[Warned, ...]:
    """New warnings. Each kind is given once per run."""
    step = history.last_steps[-1].step if history.last_steps else 0
    found = (*_of_loss(history), *_of_updates(history), *_of_validation(history))
    return tuple(Warned(step, code, message) for code, message in found if code not in history.warned)


def _of_loss(history: History) -> Iterator[tuple[str, str]]:
    first, lowest = history.first_loss, history.lowest_loss
    if history.num_steps < 2 * WINDOW or first is None or lowest is None:
        return
    last = statistics.fmean(step.loss for step in history.last_steps)
    if last > _DIVERGED * lowest and last > first:
        yield (
            "diverging",
            f"the loss rises: {last:.3f} over the last {WINDOW} steps, after {lowest:.3f} at its lowest. "
            "Try a third of the learning rate.",
        )
    elif history.num_steps >= _PATIENT_STEPS and last > _LEARNT * first:
        yield (
            "not_learning",
            f"the loss has not fallen in {history.num_steps} steps ({first:.3f} at first, {last:.3f} now). Try three "
            'times the learning rate, or "auto", and look at the preview of the examples.',
        )


def _of_updates(history: History) -> Iterator[tuple[str, str]]:
    if history.num_steps < 2 * WINDOW:
        return
    ratio = statistics.median(step.update_ratio for step in history.last_steps)
    last = history.last_steps[-1]
    if ratio > _LARGEST_RATIO:
        message = f"each step changes the virtual tokens by {ratio:.0%} of their size: the learning rate is too high"
        yield "update_too_large", message
    elif ratio < _SMALLEST_RATIO and last.step < 0.9 * last.num_steps:
        message = f"a step changes the virtual tokens by {ratio:.1e} of their size only: the learning rate is too low"
        yield "update_too_small", message


def _of_validation(history: History) -> Iterator[tuple[str, str]]:
    """Overfitting: two validations in a row are well above the best, while the training loss is below the best."""
    best = history.lowest_validation_loss
    if history.num_validations < 3 or history.num_steps < WINDOW or best is None:
        return
    training = statistics.fmean(step.loss for step in history.last_steps)
    last = history.last_validations
    if min(event.loss for event in last) > _OVERFITTED * best and training < best:
        yield (
            "overfitting",
            f"the loss on validation rises ({last[-1].loss:.3f}, after {best:.3f}) while that on training falls "
            f"({training:.3f}): the prompt learns the examples by heart. More examples or fewer steps help.",
        )
