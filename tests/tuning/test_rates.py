"""Which rate a run has: that of the lowest loss of those that were tried."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from server.tuning.encoding import EncodedExample
from server.tuning.events import RateTried
from server.tuning.plan import Defaults, Initialisation, Method, TuningPlan
from server.tuning.rates import best_rate, default_rate, try_rate
from server.tuning.trainer import ValidationScores

BATCH = [EncodedExample((1,), (2,))]


class FakeTrainer:
    """Losses of its steps, and of the validation after them."""

    def __init__(self, losses, validation):
        self.losses = iter(losses)
        self.validation = validation
        self.rates = []

    def accumulate(self, examples):
        yield
        return next(self.losses)

    def update(self, rate):
        self.rates.append(rate)
        return 1.0

    def validate(self, examples):
        yield
        return ValidationScores(self.validation, 0.5, 0.5)


def outcome(pieces):
    while True:
        try:
            next(pieces)
        except StopIteration as done:
            return done.value


def test_a_rate_is_tried_with_a_short_warm_up_and_judged():
    """The validation loss after its steps is its result."""
    trainer = FakeTrainer([1.0] * 7, validation=0.5)
    assert outcome(try_rate(trainer, 10.0, iter([BATCH] * 7), BATCH)) == RateTried(10.0, 0.5)
    assert trainer.rates == pytest.approx([2, 4, 6, 8, 10, 10, 10])


@pytest.mark.parametrize(("losses", "validation"), [([1.0, math.inf, 1.0], 1.0), ([1.0] * 3, math.nan)])
def test_a_rate_that_diverges_has_no_loss(losses, validation):
    """In a step, which ends the try, or only on validation: JSON knows no infinity."""
    trainer = FakeTrainer(losses, validation)
    assert outcome(try_rate(trainer, 10.0, iter([BATCH] * 3), BATCH)) == RateTried(10.0, None)


@pytest.mark.parametrize(
    ("tried", "best"),
    [
        ([RateTried(0.1, 2.0), RateTried(0.3, 1.0), RateTried(1.0, 3.0)], 0.3),
        ([RateTried(0.1, 2.0), RateTried(3.0, None)], 0.1),
        ([RateTried(0.3, None), RateTried(0.1, None)], 0.1),
    ],
)
def test_the_best_rate_is_that_of_the_lowest_loss(tried, best):
    """One that diverged is the last resort."""
    assert best_rate(tried) == best


def test_keys_and_values_of_tokens_get_a_tenth_of_the_rate():
    """Random ones keep theirs, and so do the plans of earlier releases."""
    ones = [torch.nn.Parameter(torch.ones(2, 3))]
    plan = TuningPlan(method=Method.PREFIX_TUNING, initialisation=Initialisation.TEXT, init_text="a")
    rates = [
        default_rate(one, ones)
        for one in (
            plan,
            replace(plan, initialisation=Initialisation.RANDOM),
            replace(plan, max_extensions=0, defaults=Defaults.FIRST),
        )
    ]
    assert rates == pytest.approx([0.01, 0.1, 0.1])
