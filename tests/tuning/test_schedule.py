"""The schedule of a run: its rates, its validations, and whether it goes on."""

from __future__ import annotations

import pytest

from server.tuning.events import Validated
from server.tuning.plan import Schedule, TuningPlan
from server.tuning.schedule import RunSchedule, still_improves


def validations(*scores: tuple[float, float]) -> list[Validated]:
    """Validations of these losses and shares of exact matches, in order."""
    best, found = None, []
    for step, (loss, exact_match) in enumerate(scores):
        is_best = best is None or (exact_match, -loss) > best
        best = (exact_match, -loss) if is_best else best
        found.append(Validated(step, loss, exact_match, exact_match, is_best))
    return found


def test_an_extension_warms_up_to_half_of_the_rate_and_falls_to_zero():
    """The planned steps have the rates of a run that is never extended."""
    plan = TuningPlan(warmup_steps=10, max_extensions=2)
    schedule = RunSchedule(plan, 100)
    rates = [schedule.rate_at(step) for step in range(schedule.num_steps(2))]
    assert len(rates) == 200
    assert rates[:100] == [RunSchedule(TuningPlan(warmup_steps=10), 100).rate_at(step) for step in range(100)]
    assert (rates[9], rates[10], rates[99]) == (1.0, 1.0, pytest.approx(1 / 90))
    assert rates[100:150] == rates[150:200]
    assert (rates[100], max(rates[100:]), rates[149]) == (0.05, 0.5, pytest.approx(0.5 / 40))


def test_a_constant_rate_stays_constant_in_an_extension():
    """Only a schedule that falls has to rise again."""
    schedule = RunSchedule(TuningPlan(schedule=Schedule.CONSTANT, warmup_steps=0), 10)
    assert {schedule.rate_at(step) for step in range(20)} == {1.0}


def test_validations_keep_their_distance_in_an_extension():
    """There is also one after the last step, planned or not."""
    schedule = RunSchedule(TuningPlan(), 125)
    due = [step for step in range(1, 188) if schedule.validation_is_due(step, num_extensions=1)]
    assert due[:3] == [10, 20, 30]
    assert due[-2:] == [180, 187]
    assert schedule.validation_is_due(125, num_extensions=0)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([(9.0, 0.0), (0.3, 0.5), (0.3, 0.5), (0.3, 0.6), (0.2, 0.8), (0.1, 0.9)], True),
        ([(9.0, 0.0), (2.0, 0.0), (1.9, 0.0), (1.8, 0.0), (1.5, 0.0), (1.2, 0.0)], True),
        ([(9.0, 0.0), (0.3, 0.5), (0.3, 0.6), (0.2, 0.9), (0.2, 0.8), (0.2, 0.7)], False),
        ([(9.0, 0.0), (0.3, 0.5), (0.1, 0.9), (0.1, 0.9), (0.1, 0.9), (0.099, 0.9)], False),
        ([(9.0, 0.0), (0.3, 0.5), (0.3, 0.6), (0.2, 0.9), (0.2, 0.9), (0.1, 1.0)], False),
        ([(9.0, 0.0), (0.3, 0.5)], False),
    ],
    ids=["more is right", "less loss", "the best is past", "no clear gain", "all is right", "too short to tell"],
)
def test_a_run_goes_on_only_while_it_clearly_improves(scores, expected):
    """The last validation is the best, and better by a tenth than before the last quarter."""
    assert still_improves(validations(*scores)) is expected


def test_a_run_is_extended_as_often_as_its_plan_allows():
    """Its history decides each time anew."""
    schedule = RunSchedule(TuningPlan(max_extensions=1, num_steps=40), 40)
    improving = validations((9.0, 0.0), (0.3, 0.5), (0.3, 0.5), (0.3, 0.6), (0.1, 0.9))
    assert [schedule.is_extended(num_extensions, improving) for num_extensions in (0, 1)] == [True, False]
