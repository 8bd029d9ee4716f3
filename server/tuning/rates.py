"""Learning rate of a run: the default, a multiple of it, or the best of those that "auto" tries.

AdamW changes each value by about the learning rate per step, so a rate has to be compared with the size of the values.
Rates here are multiples of the values' root mean square. For virtual tokens initialised as rows of the embedding
matrix, that is the norm of a row divided by the square root of its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from server.tuning.encoding import EncodedExample
from server.tuning.events import RateTried
from server.tuning.plan import Defaults, Initialisation, Method, TuningPlan
from server.tuning.trainer import Pieces, Trainer

DEFAULT_FACTORS = {Method.PROMPT_TUNING: 0.3, Method.P_TUNING: 0.03, Method.PREFIX_TUNING: 0.1, Method.CARTRIDGE: 0.1}
"""Default rates in multiples of the initial values' root mean square; P_TUNING's values are its encoder's weights."""

FACTOR_FROM_TOKENS = 0.01
"""The same for keys and values that the base model computed from tokens, except by the first rules."""

SWEEP = (0.1, 0.3, 1.0, 3.0)
"""Rates that "auto" tries, in multiples of the default rate."""

HEAD_STEP = 0.3
"""Change of a new head's logits per step, at most, at its default rate: a hidden state's values are near 1."""

NUM_SWEEP_STEPS = 20
_NUM_WARMUP_STEPS = 5


def default_rate(plan: TuningPlan, parameters: list[torch.nn.Parameter]) -> float:
    """Rate of a run whose plan has none."""
    num_values = sum(parameter.numel() for parameter in parameters)
    squares = sum(float(parameter.detach().double().square().sum()) for parameter in parameters)
    return _default_factor(plan) * float((squares / num_values) ** 0.5)


def head_factor(plan: TuningPlan, prompt: list[torch.nn.Parameter], hidden_size: int) -> float:
    """The head's rate in multiples of the prompt's, whose default rate depends on its values. It is the same at every
    rate, so that a rate that is given, or found by trying, moves both.

    A step of AdamW changes a logit by the rate for each value of the hidden state, so the head's default rate is
    `HEAD_STEP` divided by `hidden_size`.
    """
    return HEAD_STEP / hidden_size / default_rate(plan, prompt)


def _default_factor(plan: TuningPlan) -> float:
    is_from_tokens = plan.is_key_values and plan.initialisation is not Initialisation.RANDOM
    if is_from_tokens and plan.defaults is not Defaults.FIRST:
        return FACTOR_FROM_TOKENS
    return DEFAULT_FACTORS[plan.method]


def try_rate(
    trainer: Trainer,
    rate: float,
    batches: Iterator[Sequence[EncodedExample]],
    validation: Sequence[EncodedExample],
) -> Pieces[RateTried]:
    """Train a few steps from the trainer's state, and return the validation loss after them."""
    for step, batch in enumerate(batches):
        trained = yield from trainer.accumulate(batch)
        norm = trainer.update(rate * min(1.0, (step + 1) / _NUM_WARMUP_STEPS))
        yield
        if not (math.isfinite(trained) and math.isfinite(norm)):
            return RateTried(rate, None)
    found = yield from trainer.validate(validation)
    return RateTried(rate, found.loss if math.isfinite(found.loss) else None)


def best_rate(tried: Sequence[RateTried]) -> float:
    """The rate of the lowest loss; if every rate diverged, the lowest rate."""
    best = min(tried, key=lambda one: (math.inf if one.loss is None else one.loss, one.learning_rate))
    return best.learning_rate
