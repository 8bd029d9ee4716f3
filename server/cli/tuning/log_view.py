"""The progress of a run as lines, for a log: calm, and never silent for minutes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from server.cli.tuning.event_lines import event_lines
from server.cli.tuning.step_clock import StepClock, duration_text
from server.tuning.events import StepDone, TuningEvent

_MAX_SILENCE_S = 60.0
_MIN_INTERVAL_S = 5.0
_NUM_PARTS = 10


class LogView:
    """Prints validations, warnings and rates as they come, and the loss with the time left now and then.

    The loss comes after the first step, then after each tenth of the run or each minute, whichever is earlier, but
    never twice within five seconds.
    """

    def __init__(self, clock: StepClock, now: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now = now
        self._last_step: StepDone | None = None
        self._stepped_at = self._printed_at = now()
        self._loss_at: float | None = None
        self._part = 0

    def show(self, events: Sequence[TuningEvent]) -> None:
        """Print what is worth a line; without events, a sign of life after a minute of silence."""
        for line in event_lines(events):
            self._print(line)
        steps = [event for event in events if isinstance(event, StepDone)]
        if steps:
            self._last_step, self._stepped_at = steps[-1], self._now()
            if self._loss_is_due(steps[-1]):
                self._print_loss(steps[-1])
        elif self._now() - self._printed_at >= _MAX_SILENCE_S:
            self._print(self._sign_of_life())

    def _loss_is_due(self, step: StepDone) -> bool:
        if self._loss_at is None:
            return True
        silence_s = self._now() - self._loss_at
        return silence_s >= _MAX_SILENCE_S or (silence_s >= _MIN_INTERVAL_S and _part_of(step) != self._part)

    def _print_loss(self, step: StepDone) -> None:
        self._loss_at, self._part = self._now(), _part_of(step)
        pace = str(self._clock)
        self._print(f"step {step.step} of {step.num_steps}: loss {step.loss:.3f}{f'; {pace}' if pace else ''}")

    def _sign_of_life(self) -> str:
        since = duration_text(self._now() - self._stepped_at)
        if self._last_step is None:
            return f"no step is done yet, after {since}"
        return f"step {self._last_step.step} of {self._last_step.num_steps} was done {since} ago; the run continues"

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self._printed_at = self._now()


def _part_of(step: StepDone) -> int:
    return step.step * _NUM_PARTS // step.num_steps
