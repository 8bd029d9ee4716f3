"""Time per step and time left, from the times of events."""

import pytest

from server.cli.tuning.step_clock import StepClock, duration_text
from server.tuning.events import Extended
from tests.tuning.histories import steps, validated


def clock_after(*timed, started_at=None):
    clock = StepClock(started_at)
    for at, event in timed:
        clock.add(event, at)
    return clock


def test_one_step_is_enough_where_its_begin_is_known():
    """Otherwise two are needed."""
    first, second = steps([1.0, 1.0], num_steps=11)
    assert str(clock_after((2.0, first), started_at=0.0)) == "2.0 s per step, about 20 s left"
    assert str(clock_after((2.0, first))) == ""
    assert str(clock_after((2.0, first), (2.5, second))) == "2.0 steps per s, about 4 s left"


def test_an_extension_is_time_left():
    """It is counted from the event on, before the next step."""
    clock = clock_after(*((float(step.step), step) for step in steps([1.0] * 10, num_steps=10)), started_at=0.0)
    assert str(clock) == "1.0 s per step"
    clock.add(Extended(10, 15), 10.0)
    assert str(clock) == "1.0 s per step, about 5 s left"


def test_whole_seconds_give_no_infinite_rate():
    """A server's events have those: steps of one second are no steps without a time."""
    assert clock_after((5.0, steps([1.0])[0]), started_at=5.0).step_s is None


def test_the_validation_before_the_first_step_stands_for_those_to_come():
    """Until another one has come, which the steps' mean then includes."""
    done = steps([1.0] * 10, num_steps=100)
    clock = clock_after((6.0, validated(0, 1.0)), *((6.0 + step.step, step) for step in done), started_at=0.0)
    assert (clock.step_s, clock.left_s) == (1.0, pytest.approx(90 + 0.9 * 12 * 6))
    clock.add(validated(10, 1.0), 22.0)
    clock.add(steps([1.0] * 11, num_steps=100)[-1], 23.0)
    assert (clock.step_s, clock.left_s) == (17 / 11, pytest.approx(89 * 17 / 11))


def test_the_rate_follows_the_latest_steps():
    """A machine that becomes busy is told of."""
    timed = [(float(step.step), step) for step in steps([1.0] * 60, num_steps=60)]
    slow = [(60.0 + 10 * (step.step - 60), step) for step in steps([1.0] * 100, num_steps=100)[60:]]
    assert clock_after(*timed, *slow).step_s == pytest.approx(10.0)


def test_steps_that_are_done_again_begin_anew():
    """A job may go on from an earlier state."""
    first, second, third = steps([1.0] * 3, num_steps=3)
    clock = clock_after((1.0, first), (2.0, second), (100.0, second), (103.0, third))
    assert (clock.step_s, clock.left_s) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (3600 * 2.5, "2 h 30 min")]
)
def test_a_duration_has_a_useful_unit(seconds, text):
    """Nobody reads 5,399 seconds."""
    assert duration_text(seconds).replace("1 h 30 min", "90 min") == text
