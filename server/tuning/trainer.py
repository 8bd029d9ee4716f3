"""Computation of a run: gradients, optimiser steps and validations.

Generators yield between micro-batches, so that the engine can serve requests in between.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from server.tuning.batches import MicroBatch, micro_batches
from server.tuning.encoding import EncodedExample
from server.tuning.forward import TuningModel
from server.tuning.optimizer import make_optimizer, restore_state, state_tensors
from server.tuning.plan import TuningPlan

_Found = TypeVar("_Found")
Pieces = Generator[None, None, _Found]
"""Work in bounded pieces: it yields between two of them, and returns its result."""


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Mean loss per completion token in nats, share of correct tokens, and share of wholly correct examples."""

    loss: float
    token_accuracy: float
    exact_match: float


class Trainer:
    """A soft prompt's parameters and their optimiser."""

    def __init__(self, model: TuningModel, plan: TuningPlan) -> None:
        self._model = model
        self._plan = plan
        self._parameters = model.prompt.parameters
        self._optimizer = make_optimizer(plan, self._parameters)

    def accumulate(self, examples: Sequence[EncodedExample]) -> Pieces[float]:
        """Compute the gradient of the mean loss per completion token, and return that loss."""
        self._optimizer.zero_grad()
        num_targets = sum(len(example.completion) for example in examples)
        total = 0.0
        for index, batch in enumerate(self._micro_batches(examples)):
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
                group["lr"] = rate
            self._optimizer.step()
        self._optimizer.zero_grad()
        return norm

    def validate(self, examples: Sequence[EncodedExample]) -> Pieces[ValidationScores]:
        """Compute the scores of the examples, without gradients."""
        losses, num_right_tokens, num_right_examples = 0.0, 0, 0
        num_targets = sum(len(example.completion) for example in examples)
        for index, batch in enumerate(self._micro_batches(examples)):
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
        self._optimizer = make_optimizer(self._plan, self._parameters)

    def optimizer_state(self) -> dict[str, torch.Tensor]:
        """The optimiser's state, as tensors by name."""
        return state_tensors(self._optimizer)

    def restore_optimizer(self, state: dict[str, torch.Tensor]) -> None:
        """Give a fresh optimiser the state that `optimizer_state` returned."""
        restore_state(self._optimizer, state)

    def _micro_batches(self, examples: Sequence[EncodedExample]) -> Iterator[MicroBatch]:
        return micro_batches(
            examples,
            num_virtual_tokens=self._plan.num_virtual_tokens,
            max_tokens=self._plan.max_micro_batch_tokens,
            device=self._model.device,
        )
