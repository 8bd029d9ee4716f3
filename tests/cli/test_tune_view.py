"""The live table of `softprompt tune`, of a run whose length is not known at first."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from server.cli.tuning import view as tune_view
from server.cli.tuning.view import TuneView
from server.tuning.events import RateTried, TuningEvent, Validated, Warned
from tests.tuning.histories import steps


@dataclass
class FakeRun:
    step: int = 0
    num_steps: int | None = None
    history: list[TuningEvent] = field(default_factory=list)

    def take(self, *events):
        self.history += events
        return events


@pytest.fixture
def screen(monkeypatch):
    """What a terminal is sent."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, legacy_windows=False)
    monkeypatch.setattr(tune_view, "console_of", lambda stream: console)
    return text


def test_a_terminal_gets_a_table_of_validations_with_a_bar_below(screen):
    """The rows have the numbers of their steps, warnings stay in sight, the bar has a length once that is known."""
    run = FakeRun()
    with TuneView(run, "mood") as view:
        view.show(())
        run.step, run.num_steps = 2, 40
        view.show(run.take(*steps([2.0, 1.5]), Validated(2, 0.75, 0.5, 0.25, is_best=True)))
        view.show(run.take(Warned(2, "diverging", "the loss rises")))
    shown = screen.getvalue().splitlines()
    assert any(line.split()[:4] == ["2", "1.500", "0.750", "0.250"] and "best so far" in line for line in shown)
    assert any("warning at step 2: the loss rises" in line for line in shown)
    assert any("Tuning mood" in line and "2/40" in line for line in shown)


def test_the_table_needs_no_history_of_what_it_has_been_shown(screen):
    """A very long run remembers only some of its steps."""
    with TuneView(FakeRun(num_steps=40), "mood") as view:
        view.show(steps([2.0, 1.5]))
        view.show([Validated(2, 0.75, 0.5, 0.25, is_best=True)])
    assert any(line.split()[:4] == ["2", "1.500", "0.750", "0.250"] for line in screen.getvalue().splitlines())


def test_elsewhere_a_line_tells_what_a_person_would_look_for(capsys):
    """Rates, validations and warnings; no line a step."""
    run = FakeRun(num_steps=40)
    with TuneView(run, "mood") as view:
        view.show(run.take(RateTried(0.5, 1.25), RateTried(5.0, None), *steps([2.0, 1.5])))
        view.show(run.take(Validated(2, 0.75, 0.5, 0.25, is_best=False), Warned(2, "diverging", "the loss rises")))
    assert capsys.readouterr().err.splitlines() == [
        "learning rate 0.5: validation loss 1.250",
        "learning rate 5: diverges",
        "step 2: validation loss 0.750, exact match 0.250",
        "warning at step 2: the loss rises",
    ]
