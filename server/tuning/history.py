"""History of a run's events. Its size is bounded, however long the run is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from typing import Any

from server.tuning.events import StepDone, TuningEvent, Validated, Warned, event_from_json, event_to_json

MAX_POINTS = 2048
"""Number of steps, and of validations, from which the history is thinned out."""

WINDOW = 10
"""Number of steps per mean loss: with fewer, the mean varies too much between batches."""


@dataclass(slots=True)
class History:
    """Events of a run, and statistics of all events for `watch.py`.

    Of more than `MAX_POINTS` steps only every second is kept, of more than twice as many every fourth, and so on. The
    same holds for validations. `first_loss` is the mean of the first `WINDOW` steps, `lowest_loss` the lowest mean of
    such a window, and `lowest_validation_loss` the lowest of all validations.
    """

    events: list[TuningEvent] = field(default_factory=list)
    num_steps: int = 0
    num_validations: int = 0
    last_steps: list[StepDone] = field(default_factory=list)
    last_validations: list[Validated] = field(default_factory=list)
    first_loss: float | None = None
    lowest_loss: float | None = None
    lowest_validation_loss: float | None = None
    warned: list[str] = field(default_factory=list)

    def add(self, event: TuningEvent) -> None:
        """Add an event."""
        match event:
            case StepDone():
                self._keep(event, self.num_steps)
                self.num_steps += 1
                self.last_steps = [*self.last_steps, event][-WINDOW:]
                if self.num_steps % WINDOW == 0:
                    self._end_window(statistics.fmean(step.loss for step in self.last_steps))
            case Validated():
                self._keep(event, self.num_validations)
                self.num_validations += 1
                self.last_validations = [*self.last_validations, event][-2:]
                self.lowest_validation_loss = _lower(self.lowest_validation_loss, event.loss)
            case _:
                self.events.append(event)
                if isinstance(event, Warned):
                    self.warned.append(event.code)

    def _keep(self, event: StepDone | Validated, number: int) -> None:
        """Keep the event if its number is due. `number` counts events of this kind, from 0."""
        stride = _stride(number)
        if number > 0 and stride > _stride(number - 1):
            every_second = cycle((True, False))
            self.events = [one for one in self.events if type(one) is not type(event) or next(every_second)]
        if number % stride == 0:
            self.events.append(event)

    def _end_window(self, loss: float) -> None:
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.lowest_loss = _lower(self.lowest_loss, loss)


def history_to_json(history: History) -> dict[str, Any]:
    """Convert every field to a JSON value; `history_from_json` is the inverse."""
    return {**asdict(replace(history, events=[])), "events": [event_to_json(event) for event in history.events]}


def history_from_json(fields: Mapping[str, Any]) -> History:
    """Inverse of `history_to_json`. Raises ValueError for an unknown event."""
    events = {
        "events": [event_from_json(event) for event in fields["events"]],
        "last_steps": [StepDone(**step) for step in fields["last_steps"]],
        "last_validations": [Validated(**validation) for validation in fields["last_validations"]],
    }
    return History(**{**fields, **events})


def _stride(number: int) -> int:
    return 1 << (number // MAX_POINTS).bit_length()


def _lower(lowest: float | None, loss: float) -> float:
    return loss if lowest is None else min(lowest, loss)
