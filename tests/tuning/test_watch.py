"""Warnings come where a person should look, once, and not on a run that goes well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tuning.events import Warned
from server.tuning.history import History
from server.tuning.watch import warnings
from tests.tuning.histories import remembered, steps, validated

POSITIVE = st.floats(1e-6, 1e6)


def codes(history):
    return [warning.code for warning in warnings(remembered(history))]


def falling(num_steps):
    return [2.0 / (1 + step / 20) for step in range(num_steps)]


def test_a_run_that_goes_well_is_left_alone():
    """The loss falls, and so does that on validation."""
    history = steps(falling(200))
    history += [validated(step, loss) for step, loss in ((0, 2.0), (100, 0.6), (200, 0.4))]
    assert codes(history) == []


@pytest.mark.parametrize(
    ("history", "code"),
    [
        (steps([*falling(30), *[3.0] * 10]), "diverging"),
        (steps([2.0] * 40), "not_learning"),
        (steps(falling(20), update_ratio=0.6), "update_too_large"),
        (steps(falling(20), update_ratio=1e-6), "update_too_small"),
        ([*steps(falling(100)), validated(0, 1.0), validated(50, 1.3), validated(100, 1.4)], "overfitting"),
    ],
)
def test_each_trouble_is_told_at_the_last_step_and_once(history, code):
    """What has been said is part of the history, and not said again."""
    (found,) = warnings(remembered(history))
    assert found.code == code
    assert found.step == max(event.step for event in history)
    assert warnings(remembered([*history, found])) == ()


@pytest.mark.parametrize("num_steps", range(20))
def test_nothing_is_said_before_there_is_enough_to_see(num_steps):
    """Two windows of ten steps are the least."""
    assert codes(steps([0.1] * (num_steps - 1) + [100.0], update_ratio=9.0)) == []


def test_the_last_steps_of_a_falling_rate_are_not_too_small():
    """A schedule that ends at zero makes small steps in the end."""
    assert codes(steps(falling(20), update_ratio=1e-6, num_steps=20)) == []


def test_one_bad_validation_is_not_overfitting():
    """It takes two in a row."""
    history = steps(falling(100))
    history += [validated(0, 1.0), validated(50, 0.9), validated(100, 1.4)]
    assert codes(history) == []


@given(st.lists(st.tuples(POSITIVE, POSITIVE, st.none() | POSITIVE), max_size=80))
def test_a_run_of_whatever_numbers_is_warned_of_each_kind_once(numbers):
    """Asked after every step, as a run does."""
    history = History()
    for number, (loss, ratio, validation) in enumerate(numbers, start=1):
        history.add(steps([loss] * number, update_ratio=ratio)[-1])
        if validation is not None:
            history.add(validated(number, validation))
        for warning in warnings(history):
            history.add(warning)
    told = [event.code for event in history.events if isinstance(event, Warned)]
    assert len(told) == len(set(told))
