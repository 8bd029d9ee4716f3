"""Computation of a run: gradients, optimiser steps and validations.

Generators yield between micro-batches, so that the engine can serve requests in between.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from server.tuning.encoding import EncodedExample
from server.tuning.models.protocol import TuningModel
from server.tuning.optimizer import make_optimizer, restore_state, state_tensors
from server.tuning.plan import TuningPlan

_Found = TypeVar("_Found")
Pieces = Generator[None, None, _Found]
"""Work in bounded pieces: it yields between two of them, and returns its result."""


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Mean loss per target in nats, share of correct targets, and share of wholly correct examples.

    A target is a completion token, or the label of an example.
    """

    loss: float
    token_accuracy: float
    exact_match: float


class Trainer:
    """The parameters of a soft prompt and its head, and their optimiser. `head_factor` is the head's rate per rate."""

    def __init__(self, model: TuningModel[Any], plan: TuningPlan, head_factor: float = 1.0) -> None:
        self._model = model
        self._plan = plan
        self._head_factor = head_factor
        self._parameters = model.prompt.parameters
        self._optimizer = self._make_optimizer()

    def accumulate(self, examples: Sequence[EncodedExample]) -> Pieces[float]:
        """Compute the gradient of the mean loss per target, and return that loss."""
        self._optimizer.zero_grad()
        num_targets = sum(example.num_targets for example in examples)
        total = 0.0
        for index, batch in enumerate(self._model.batches(examples)):
            if index:
                yield
            total += self._model.backward(batch, 1 / num_targets)
        return total / num_targets

    def drop_gradient(self) -> None:
        """Set the gradient to zero."""
        self._optimizer.zero_grad()

    def update(self, rate: float) -> float:
        """Do one optimiser step, unless the gradient overflowed. Returns its norm before clipping."""
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._plan.max_grad_norm))
        if math.isfinite(norm):
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            self._optimizer.step()
        self._optimizer.zero_grad()
        return norm

    def validate(self, examples: Sequence[EncodedExample]) -> Pieces[ValidationScores]:
        """Compute the scores of the examples, without gradients."""
        losses, num_right_tokens, num_right_examples = 0.0, 0, 0
        num_targets = sum(example.num_targets for example in examples)
        for index, batch in enumerate(self._model.batches(examples)):
            if index:
                yield
            judged = self._model.judge(batch)
            losses += float(judged.losses.sum())
            num_right_tokens += int(judged.is_right.sum())
            wrong = set(batch.owners.cpu()[~judged.is_right].tolist())
            num_right_examples += batch.num_examples - len(wrong)
        return ValidationScores(
            losses / num_targets, num_right_tokens / num_targets, num_right_examples / len(examples)
        )

    def values(self) -> list[torch.Tensor]:
        """A copy of the parameters."""
        return [parameter.detach().clone() for parameter in self._parameters]

    def set_values(self, values: Sequence[torch.Tensor]) -> None:
        """Give the parameters the values that `values` returned."""
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)

    def restart(self, values: Sequence[torch.Tensor]) -> None:
        """Set the parameters, and reset the optimiser's state."""
        self.set_values(values)
        self._optimizer = self._make_optimizer()

    def optimizer_state(self) -> dict[str, torch.Tensor]:
        """The optimiser's state, as tensors by name."""
        return state_tensors(self._optimizer)

    def restore_optimizer(self, state: dict[str, torch.Tensor]) -> None:
        """Give a fresh optimiser the state that `optimizer_state` returned."""
        restore_state(self._optimizer, state)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        prompt = self._model.prompt
        return make_optimizer(self._plan, prompt.prompt_parameters, prompt.head_parameters, self._head_factor)
