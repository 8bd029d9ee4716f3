"""The lines of a run in a log: calm, and never silent for minutes."""

from __future__ import annotations

import pytest

from server.cli.tuning.log_view import LogView
from server.cli.tuning.step_clock import StepClock
from server.tuning.events import Extended
from tests.tuning.histories import steps, validated


@pytest.fixture
def lines(capsys):
    """Drive a view by pairs of seconds and events, and return the lines with the seconds of each."""

    def run(*times_and_events):
        now = 0.0
        clock = StepClock(0.0)
        view = LogView(clock, lambda: now)
        found = []
        for now, events in times_and_events:
            for event in events:
                clock.add(event, now)
            view.show(events)
            found += [(now, line) for line in capsys.readouterr().err.splitlines()]
        return found

    return run


def test_a_slow_run_prints_the_loss_each_minute(lines):
    """From the first step on, with the rate and the time left."""
    run = [(7.8 * number, [step]) for number, step in enumerate(steps([13.4] * 30, num_steps=200), start=1)]
    found = lines(*run)
    assert found[0] == (7.8, "step 1 of 200: loss 13.400; 7.8 s per step, about 26 min left")
    assert [round(at) for at, _ in found] == [8, 70, 133, 156, 218], "156 s: the first tenth"


def test_a_fast_run_prints_the_loss_for_each_tenth(lines):
    """But not twice within five seconds."""
    run = [(number / 4, [step]) for number, step in enumerate(steps([1.0] * 200, num_steps=200), start=1)]
    assert [line.split(":")[0] for _, line in lines(*run)] == [
        "step 1 of 200", *(f"step {number} of 200" for number in range(21, 200, 20)),
    ]  # fmt: skip


def test_a_run_that_goes_on_says_so(lines):
    """The tenths are then those of the longer run."""
    taken = steps([1.0] * 10, num_steps=10)
    further = steps([1.0] * 15, num_steps=15)[10:]
    run = [(10.0 * step.step, [step]) for step in taken]
    found = lines(*run, (101.0, [Extended(10, 15)]), *((10.0 * step.step, [step]) for step in further))
    assert [line.split(";")[0] for _, line in found][-7:] == [
        "step 9 of 10: loss 1.000",
        "step 10 of 10: loss 1.000",
        "still improving after step 10: goes on to step 15",
        *(f"step {number} of 15: loss 1.000" for number in (11, 12, 14, 15)),
    ]


def test_a_run_whose_step_takes_minutes_gives_a_sign_of_life(lines):
    """Also before its first step, and in a long validation."""
    first, second = steps([1.0, 0.5], num_steps=3)
    run = [
        *((float(at), []) for at in range(0, 150, 10)),
        (150.0, [first]),
        (200.0, []),
        (260.0, []),
        (300.0, [second]),
    ]
    assert lines(*run) == [
        (60.0, "no step is done yet, after 60 s"),
        (120.0, "no step is done yet, after 2 min"),
        (150.0, "step 1 of 3: loss 1.000; 150.0 s per step, about 5 min left"),
        (260.0, "step 1 of 3 was done 2 min ago; the run continues"),
        (300.0, "step 2 of 3: loss 0.500; 150.0 s per step, about 3 min left"),
    ]


def test_events_that_come_together_have_one_line_of_loss(lines):
    """A server's job that is watched from its middle begins with all its steps."""
    found = lines((0.0, [validated(0, 1.0)]), (100.0, [*steps([1.0] * 50, num_steps=100), validated(50, 0.5)]))[1:]
    assert [line for _, line in found] == [
        "step 50: validation loss 0.500, exact match 0.500",
        "step 50 of 100: loss 1.000; 2.0 s per step, about 2 min left",
    ]
