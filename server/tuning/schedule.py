"""Steps of a run: their learning rates, the validations between them, and the extensions of a run that still improves.

A run has its planned steps, then up to `max_extensions` extensions of half as many. Everything here is a function of
the plan, the step and the validations so far, so a resumed run decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from server.tuning.events import TuningEvent, Validated
from server.tuning.plan import Schedule, TuningPlan

EXTENSION_PEAK = 0.5
"""Highest rate of an extension, as a share of the run's. Its warm-up and its fall are those of a run of its length
(warm restarts, Loshchilov and Hutter 2017)."""

_NUM_VALIDATIONS = 12
_MIN_GAIN = 0.1
_RECENT = 4  # the last quarter of the validations that a run has by default is three: compared with the one before them


@dataclass(frozen=True, slots=True)
class RunSchedule:
    """Schedule of a run of `num_planned` steps."""

    plan: TuningPlan
    num_planned: int

    @property
    def extension_steps(self) -> int:
        """Number of steps of an extension."""
        return max(1, self.num_planned // 2)

    def num_steps(self, num_extensions: int) -> int:
        """Number of steps with this many extensions."""
        return self.num_planned + num_extensions * self.extension_steps

    def rate_at(self, step: int) -> float:
        """Factor of the learning rate at a step, counted from 0."""
        if step < self.num_planned:
            return _factor(self.plan, step, self.num_planned)
        if self.plan.schedule is Schedule.CONSTANT:
            return 1.0
        within = (step - self.num_planned) % self.extension_steps
        return EXTENSION_PEAK * _factor(self.plan, within, self.extension_steps)

    def validation_is_due(self, step: int, num_extensions: int) -> bool:
        """Whether a run with this many extensions validates after this step."""
        every = self.plan.validate_every or max(1, self.num_planned // _NUM_VALIDATIONS)
        return step % every == 0 or step == self.num_steps(num_extensions)

    def is_extended(self, num_extensions: int, events: Sequence[TuningEvent]) -> bool:
        """Whether a run that has done its steps goes on. `events` are its history."""
        return num_extensions < (self.plan.max_extensions or 0) and still_improves(events)


def still_improves(events: Sequence[TuningEvent]) -> bool:
    """Whether the last validation is the best, and clearly better than the best one before the last quarter.

    Clearly: a tenth fewer wrong answers, or a loss lower by a tenth. A run without wrong answers is not improved.
    """
    validations = [event for event in events if isinstance(event, Validated)]
    recent = max(2, -(-len(validations) // _RECENT))
    earlier = validations[:-recent]
    if not earlier or not validations[-1].is_best or validations[-1].exact_match == 1.0:
        return False
    last = validations[-1]
    num_wrong_before = 1 - max(event.exact_match for event in earlier)
    loss_before = min(event.loss for event in earlier)
    return 1 - last.exact_match <= (1 - _MIN_GAIN) * num_wrong_before or last.loss <= (1 - _MIN_GAIN) * loss_before


def _factor(plan: TuningPlan, step: int, num_steps: int) -> float:
    """Linear warm-up, then the schedule."""
    warmup_steps = min(plan.warmup_steps, num_steps // 2)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    match plan.schedule:
        case Schedule.CONSTANT:
            return 1.0
        case Schedule.LINEAR:
            return 1 - done
        case Schedule.COSINE:
            return (1 + math.cos(math.pi * done)) / 2
