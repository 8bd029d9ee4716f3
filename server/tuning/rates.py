"""Learning rates: the documented default, and the ones that "auto" tries.

AdamW moves each value by about the learning rate a step, so a rate means something only beside the size of the values:
rates here are multiples of their root mean square. For virtual tokens that begin as rows of the embedding matrix, that
is the norm of a row by the square root of its length.
"""

from __future__ import annotations

import torch

from server.tuning.plan import Method

DEFAULT_FACTORS = {Method.PROMPT_TUNING: 0.3, Method.P_TUNING: 0.03, Method.PREFIX_TUNING: 0.1}
"""The default rate in multiples of the initial values' root mean square. P_TUNING's are its encoder's weights."""

SWEEP = (0.1, 0.3, 1.0, 3.0)
"""What "auto" tries, in multiples of the default rate."""

NUM_SWEEP_STEPS = 20


def default_rate(method: Method, parameters: list[torch.nn.Parameter]) -> float:
    """The rate of a run that names none."""
    num_values = sum(parameter.numel() for parameter in parameters)
    squares = sum(float(parameter.detach().double().square().sum()) for parameter in parameters)
    return DEFAULT_FACTORS[method] * float((squares / num_values) ** 0.5)
