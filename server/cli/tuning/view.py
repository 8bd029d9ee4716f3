"""The progress of a run: drawn in a terminal, else printed as lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from server.cli.output import console_of
from server.cli.tuning.log_view import LogView
from server.cli.tuning.step_clock import StepClock

if TYPE_CHECKING:
    from server.tuning.events import TuningEvent


class Watched(Protocol):
    """A run, on this machine or on a server. `num_steps` is None until known; `history` has the events so far."""

    @property
    def step(self) -> int: ...  # noqa: D102 - see TuningRun
    @property
    def num_steps(self) -> int | None: ...  # noqa: D102
    @property
    def history(self) -> Sequence[TuningEvent]: ...  # noqa: D102 - see TuningRun


class TuneView:
    """Shows a run on standard error while the context is open. `started_at` is when its next step began, if known.

    The clock of `started_at` is that of the events' times: `time.monotonic`, if `show` gets no times.
    """

    def __init__(self, run: Watched, task: str, started_at: float | None = None) -> None:
        from server.cli.tuning.live_view import LiveView

        self._run = run
        self._clock = StepClock(started_at)
        console = console_of(sys.stderr)
        is_drawn = console.is_terminal and not console.is_dumb_terminal
        self._live = LiveView(console, task, self._clock) if is_drawn else None
        self._log = LogView(self._clock)
        if self._live is not None:
            self._live.show(run.history, run.step, run.num_steps)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, events: Sequence[TuningEvent], times: Sequence[float] | None = None) -> None:
        """Show new events of the run. `times` are in seconds, one per event; by default the events are of now."""
        for event, at in zip(events, times or [time.monotonic()] * len(events), strict=True):
            self._clock.add(event, at)
        if self._live is None:
            self._log.show(events)
        elif events:
            self._live.show(events, self._run.step, self._run.num_steps)
