"""Which learning rate a run has: the documented default, a multiple of it, or the best of those that "auto" tries.

AdamW moves each value by about the learning rate a step, so a rate means something only beside the size of the values:
rates here are multiples of their root mean square. For virtual tokens that begin as rows of the embedding matrix, that
is the norm of a row by the square root of its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from server.tuning.encoding import EncodedExample
from server.tuning.events import RateTried
from server.tuning.plan import Method
from server.tuning.trainer import Pieces, Trainer

DEFAULT_FACTORS = {Method.PROMPT_TUNING: 0.3, Method.P_TUNING: 0.03, Method.PREFIX_TUNING: 0.1}
"""The default rate in multiples of the initial values' root mean square. P_TUNING's are its encoder's weights."""

SWEEP = (0.1, 0.3, 1.0, 3.0)
"""What "auto" tries, in multiples of the default rate."""

NUM_SWEEP_STEPS = 20
_NUM_WARMUP_STEPS = 5


def default_rate(method: Method, parameters: list[torch.nn.Parameter]) -> float:
    """The rate of a run that names none."""
    num_values = sum(parameter.numel() for parameter in parameters)
    squares = sum(float(parameter.detach().double().square().sum()) for parameter in parameters)
    return DEFAULT_FACTORS[method] * float((squares / num_values) ** 0.5)


def try_rate(
    trainer: Trainer,
    rate: float,
    batches: Iterator[Sequence[EncodedExample]],
    validation: Sequence[EncodedExample],
) -> Pieces[RateTried]:
    """A few steps from where the trainer is, and the loss on validation after them."""
    for step, batch in enumerate(batches):
        trained = yield from trainer.accumulate(batch)
        norm = trainer.update(rate * min(1.0, (step + 1) / _NUM_WARMUP_STEPS))
        yield
        if not (math.isfinite(trained) and math.isfinite(norm)):
            return RateTried(rate, None)
    found = yield from trainer.judge(validation)
    return RateTried(rate, found.loss if math.isfinite(found.loss) else None)


def best_rate(tried: Sequence[RateTried]) -> float:
    """The rate of the lowest loss; where every one diverged, the lowest rate."""
    best = min(tried, key=lambda one: (math.inf if one.loss is None else one.loss, one.learning_rate))
    return best.learning_rate
