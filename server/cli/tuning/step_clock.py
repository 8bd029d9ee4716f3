"""Time per step of a run, and the time that it still needs."""

from __future__ import annotations

from collections import deque

from server.tuning.events import Extended, StepDone, TuningEvent, Validated

_MIN_WINDOW, _MAX_WINDOW = 20, 2000
_WINDOWS_PER_RUN = 6
_NUM_VALIDATIONS = 12  # of a run whose plan sets no interval


class StepClock:
    """Estimates from the times of a run's events. Times are seconds of any one clock.

    The mean is over the latest steps, with the validations between them. Until a run has validated again, the time of
    its first validation, before the first step, stands for all.
    """

    def __init__(self, started_at: float | None = None) -> None:
        self._waits_since = started_at
        self._marks: deque[tuple[int, float]] = deque()
        self._num_steps = 0
        self._first_validation_s: float | None = None

    def add(self, event: TuningEvent, at: float) -> None:
        """Take note of an event at a time."""
        if isinstance(event, StepDone):
            self._add_step(event, at)
        elif isinstance(event, Extended):
            self._num_steps = event.num_steps
        elif not self._marks:
            if isinstance(event, Validated) and self._waits_since is not None:
                self._first_validation_s = at - self._waits_since
            self._waits_since = at
        elif isinstance(event, Validated):
            self._first_validation_s = None

    @property
    def step_s(self) -> float | None:
        """Seconds per step; None until they can be told."""
        if len(self._marks) < 2:
            return None
        (first, begin), (last, end) = self._marks[0], self._marks[-1]
        return (end - begin) / (last - first) if end > begin else None

    @property
    def left_s(self) -> float | None:
        """Seconds to the last step, if the run does not stop early; None until they can be told."""
        step_s = self.step_s
        if step_s is None:
            return None
        share = 1 - self._marks[-1][0] / self._num_steps
        return share * (step_s * self._num_steps + _NUM_VALIDATIONS * (self._first_validation_s or 0.0))

    def __str__(self) -> str:
        """Return the rate and the time left in words, as far as they are known."""
        if self.step_s is None or self.left_s is None:
            return ""
        left = f", about {duration_text(self.left_s)} left" if self.left_s > 0 else ""
        return f"{_rate_text(self.step_s)}{left}"

    def _add_step(self, event: StepDone, at: float) -> None:
        marks = self._marks
        if marks and event.step <= marks[-1][0]:  # resumed from an earlier state
            marks.clear()
        elif not marks and self._waits_since is not None:
            marks.append((event.step - 1, self._waits_since))
        marks.append((event.step, at))
        self._num_steps = event.num_steps
        window = max(_MIN_WINDOW, min(_MAX_WINDOW, event.num_steps // _WINDOWS_PER_RUN))
        while marks[-1][0] - marks[0][0] > window and marks[1][1] < at:  # a server stores many steps at one time
            marks.popleft()


def duration_text(seconds: float) -> str:
    """Return a duration in its largest useful unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _rate_text(step_s: float) -> str:
    return f"{step_s:.1f} s per step" if step_s >= 1 else f"{1 / step_s:.1f} steps per s"
