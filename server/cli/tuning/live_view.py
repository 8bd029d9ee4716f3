"""The progress of a run in a terminal: a table of validations, the loss as a curve, and a bar with the time left."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from server.cli.output import one_line
from server.cli.tuning.event_lines import event_lines
from server.cli.tuning.loss_curve import LossCurve
from server.cli.tuning.step_clock import StepClock
from server.tuning.events import Extended, Finished, StepDone, TuningEvent, Validated, Warned

_NUM_ROWS = 8
_MAX_CURVE = 60
_WIDE, _MEDIUM = 92, 76
"""Columns of a terminal from which on the table has all of its columns, or all but the last ones."""


class LiveView:
    """Redraws a run four times per second between `start` and `stop`."""

    def __init__(self, console: Console, task: str, clock: StepClock) -> None:
        self._console = console
        self._clock = clock
        self._task = one_line(task)
        ascii_only = console.options.ascii_only
        self._bar = Progress(
            SpinnerColumn("line" if ascii_only else "dots", finished_text=" "),
            TextColumn(f"Tuning {self._task}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            console=console,
        )
        self._job = self._bar.add_task("", total=None, pace="")
        self._live = Live(console=console, refresh_per_second=4)
        self._rows: deque[tuple[Validated, StepDone | None]] = deque(maxlen=_NUM_ROWS)
        self._notices: list[str] = []
        self._curve = LossCurve()
        self._last_step: StepDone | None = None

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._live.update(self._picture())

    def stop(self) -> None:
        """Draw the last state and leave it on the screen."""
        self._bar.stop_task(self._job)
        self._live.update(self._picture())
        self._live.stop()

    def show(self, events: Sequence[TuningEvent], step: int, num_steps: int | None) -> None:
        """Draw new events of a run that is at `step`."""
        for event in events:
            if isinstance(event, StepDone):
                self._last_step = event
                self._curve.add(event.loss)
            elif isinstance(event, Validated):
                last = self._last_step
                self._rows.append((event, last if last is not None and last.step == event.step else None))
        self._notices += event_lines([event for event in events if isinstance(event, Warned | Extended | Finished)])
        self._bar.update(self._job, completed=step, total=num_steps)
        self._live.update(self._picture())

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [self._table()] if self._rows else []
        parts += [Text(line, style="yellow") for line in self._notices]
        if self._curve.first is not None:
            parts.append(self._loss())
        pace = str(self._clock)
        is_beside = len(pace) <= self._console.width - self._bar_width
        self._bar.update(self._job, pace=pace if is_beside else "")
        return Group(*parts, *([] if is_beside else [Text(pace)]), self._bar)

    @property
    def _bar_width(self) -> int:
        """Columns of the bar's line without the pace; the bar itself has ten."""
        num_steps = "" if self._last_step is None else str(self._last_step.num_steps)
        return len("- Tuning  ") + len(self._task) + 10 + len(" / ") + 2 * len(num_steps)

    def _loss(self) -> Text:
        before, after = f"loss {self._curve.first:.3f} ", f" {self._curve.last:.3f}"
        width = max(1, min(_MAX_CURVE, self._console.width - len(before) - len(after)))
        curve = self._curve.sparkline(width, ascii_only=self._console.options.ascii_only)
        return Text.assemble(before, (curve, "cyan"), after, no_wrap=True)

    def _table(self) -> Table:
        width = self._console.width
        names = ["STEP", "LOSS", "VALIDATION LOSS", "EXACT MATCH"]
        if width >= _MEDIUM:
            names += ["GRADIENT", "UPDATE/WEIGHT"]
        if width >= _WIDE:
            names += ["DISTANCE"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in (*names, ""):
            table.add_column(name, justify="left" if not name else "right")
        for event, step in self._rows:
            loss, *others = [""] * 4 if step is None else _of_step(step)
            cells = [str(event.step), loss, f"{event.loss:.3f}", f"{event.exact_match:.3f}", *others]
            best = "best so far" if width >= _WIDE else "best"
            table.add_row(*cells[: len(names)], best if event.is_best else "")
        return table


def _of_step(step: StepDone) -> list[str]:
    return [f"{step.loss:.3f}", f"{step.grad_norm:.2g}", f"{step.update_ratio:.2g}", f"{step.distance:.2f}"]
