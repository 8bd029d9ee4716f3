"""The live table of `softprompt tune`, of a run whose length is not known at first."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from server.cli.tuning import view as tune_view
from server.cli.tuning.view import TuneView
from server.tuning.events import Finished, RateTried, TuningEvent, Validated, Warned
from tests.tuning.histories import steps


@dataclass
class FakeRun:
    step: int = 0
    num_steps: int | None = None
    history: list[TuningEvent] = field(default_factory=list)

    def take(self, *events):
        self.history += events
        return events


class Screen(io.StringIO):
    console: Console


@pytest.fixture
def screen(monkeypatch):
    """What a terminal is sent."""
    monkeypatch.setenv("TERM", "xterm-256color")
    text = Screen()
    text.console = console = Console(file=text, force_terminal=True, width=120, legacy_windows=False)
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
    shown = plain(screen)
    assert any(line.split()[:4] == ["2", "1.500", "0.750", "0.250"] and "best so far" in line for line in shown)
    assert any("warning at step 2: the loss rises" in line for line in shown)
    assert any("Tuning mood" in line and "2/40" in line for line in shown)
    assert any("loss 2.000 █▁ 1.500" in line for line in shown)


def test_the_table_needs_no_history_of_what_it_has_been_shown(screen):
    """A very long run remembers only some of its steps."""
    with TuneView(FakeRun(num_steps=40), "mood") as view:
        view.show(steps([2.0, 1.5]))
        view.show([Validated(2, 0.75, 0.5, 0.25, is_best=True)])
    assert any(line.split()[:4] == ["2", "1.500", "0.750", "0.250"] for line in screen.getvalue().splitlines())


def plain(screen):
    """The lines that were drawn, without colours and movements."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[?\d;]*\w", "", screen.getvalue()).splitlines()]


@pytest.mark.parametrize(("width", "words"), [(120, "DISTANCE"), (80, "UPDATE/WEIGHT"), (60, "EXACT MATCH")])
def test_nothing_is_wider_than_the_terminal(screen, width, words):
    """A narrow one has fewer columns, a shorter bar and no broken line."""
    screen.console.width = width
    run = FakeRun(2, 40)
    with TuneView(run, "mood", started_at=0.0) as view:
        view.show([*steps([13.25, 1.5]), Validated(2, 0.75, 0.5, 0.25, is_best=True)], [5.0, 15.5, 16.0])
    shown = plain(screen)
    last = shown[len(shown) - shown[::-1].index(next(line for line in shown[::-1] if "STEP" in line)) - 1 :]
    assert words in last[0]
    assert last[1].split()[:4] == ["2", "1.500", "0.750", "0.250"]
    assert last[2] == "loss 13.250 █▁ 1.500"
    assert " 2/40" in last[-1]
    assert any("7.8 s per step, about 2 h 09 min left" in line for line in last[3:])
    assert max(map(len, shown)) <= width


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch, capsys):
    """Nothing could be redrawn there."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(tune_view, "console_of", lambda stream: Console(file=io.StringIO(), force_terminal=True))
    with TuneView(FakeRun(num_steps=40), "mood") as view:
        view.show([Warned(2, "diverging", "the loss rises")])
    assert capsys.readouterr().err == "warning at step 2: the loss rises\n"


def test_elsewhere_a_line_tells_what_a_person_would_look_for(capsys):
    """Rates, validations, warnings, and the loss after the first step; no line per step."""
    run = FakeRun(num_steps=40)
    with TuneView(run, "mood", started_at=10.0) as view:
        view.show(run.take(RateTried(0.5, 1.25), RateTried(5.0, None), *steps([2.0, 1.5])), [10.0, 10.0, 17.0, 25.0])
        view.show(run.take(*steps([1.25])), [30.0])
        view.show(run.take(Validated(2, 0.75, 0.5, 0.25, is_best=False), Warned(2, "diverging", "the loss rises")))
        view.show(run.take(Finished(2, "early_stop", 0)))
    assert capsys.readouterr().err.splitlines() == [
        "learning rate 0.5: validation loss 1.250",
        "learning rate 5: diverges",
        "step 2 of 1000: loss 1.500; 7.5 s per step, about 2 h 05 min left",
        "step 2: validation loss 0.750, exact match 0.250",
        "warning at step 2: the loss rises",
        "stopped early after step 2: step 0 is still the best",
    ]
