"""The progress of a run: a live table in a terminal, else one line per validation."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from server.cli.output import console_of, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from server.tuning.events import StepDone, TuningEvent, Validated

_NUM_ROWS = 8


class Watched(Protocol):
    """A run, on this machine or on a server. `num_steps` is None until known; `history` has the events so far."""

    @property
    def step(self) -> int: ...  # noqa: D102 - see TuningRun
    @property
    def num_steps(self) -> int | None: ...  # noqa: D102
    @property
    def history(self) -> Sequence[TuningEvent]: ...  # noqa: D102 - see TuningRun


class TuneView:
    """Shows a run on standard error while the context is open."""

    def __init__(self, run: Watched, task: str) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._run = run
        self._console = console_of(sys.stderr)
        self._bar = Progress(
            TextColumn(f"Tuning {one_line(task)}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        )
        self._job = self._bar.add_task("", total=run.num_steps, completed=run.step)
        self._live = Live(console=self._console, refresh_per_second=4) if self._console.is_terminal else None
        self._rows: deque[tuple[Validated, StepDone | None]] = deque(maxlen=_NUM_ROWS)
        self._warned: list[str] = []
        self._last_step: StepDone | None = None
        self._remember(run.history)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._picture())
            self._live.stop()

    def show(self, events: Sequence[TuningEvent]) -> None:
        """Show new events of the run."""
        if self._live is not None:
            if events:
                self._remember(events)
                self._bar.update(self._job, completed=self._run.step, total=self._run.num_steps)
                self._live.update(self._picture())
            return
        for line in _lines(events):
            print(line, file=sys.stderr, flush=True)

    def _remember(self, events: Sequence[TuningEvent]) -> None:
        from server.tuning.events import StepDone, Validated, Warned

        self._warned += _lines([event for event in events if isinstance(event, Warned)])
        for event in events:
            if isinstance(event, StepDone):
                self._last_step = event
            elif isinstance(event, Validated):
                last = self._last_step
                self._rows.append((event, last if last is not None and last.step == event.step else None))

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        return Group(self._table(), *(Text(line, style="yellow") for line in self._warned), self._bar)

    def _table(self) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("STEP", "LOSS", "VALIDATION LOSS", "EXACT MATCH", "GRADIENT", "UPDATE/WEIGHT", "DISTANCE", ""):
            table.add_column(name, justify="left" if not name else "right")
        for event, step in self._rows:
            of_step = ["", "", "", ""]
            if step is not None:
                of_step = [
                    f"{step.loss:.3f}", f"{step.grad_norm:.2g}", f"{step.update_ratio:.2g}", f"{step.distance:.2f}",
                ]  # fmt: skip
            loss, *others = of_step
            best = "best so far" if event.is_best else ""
            table.add_row(str(event.step), loss, f"{event.loss:.3f}", f"{event.exact_match:.3f}", *others, best)
        return table


def _lines(events: Sequence[TuningEvent]) -> list[str]:
    from server.tuning.events import RateChosen, RateTried, Validated, Warned

    lines = []
    for event in events:
        match event:
            case RateTried():
                found = "diverges" if event.loss is None else f"validation loss {event.loss:.3f}"
                lines.append(f"learning rate {event.learning_rate:.3g}: {found}")
            case RateChosen():
                lines.append(f"learning rate {event.learning_rate:.3g}")
            case Validated():
                best = ", the best so far" if event.is_best else ""
                lines.append(
                    f"step {event.step}: validation loss {event.loss:.3f}, exact match {event.exact_match:.3f}{best}"
                )
            case Warned():
                lines.append(f"warning at step {event.step}: {event.message}")
    return lines
