"""What a run tells as it goes. Each event is a frozen record; `event_to_json` is its form on the wire and in stores.

Every number is finite: JSON has no word for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RateTried:
    """One learning rate of the sweep: the loss on the validation examples after its few steps, None if it diverged."""

    learning_rate: float
    loss: float | None


@dataclass(frozen=True, slots=True)
class RateChosen:
    """The learning rate that the run goes on with."""

    learning_rate: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step.

    `loss` is the mean negative log-likelihood of a completion token, in nats, before the step. `grad_norm` is the
    gradient's before clipping; `update_ratio` is the norm of the step by the norm of the virtual tokens, `distance`
    that of the virtual tokens from their initial values by the norm of these.
    """

    step: int
    num_steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    update_ratio: float
    distance: float
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Validated:
    """The validation examples after `step` steps.

    `exact_match` is the share of examples whose every completion token, the end token included, is the most likely
    one behind the right ones before it: those that greedy decoding answers to the token.
    """

    step: int
    loss: float
    token_accuracy: float
    exact_match: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should look at, in plain words. `code` is `not_learning`, `diverging`, `overfitting`,
    `update_too_large` or `update_too_small`."""

    step: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over: `reason` is `steps`, `early_stop` or `diverged`; the result is the state after `best_step`."""

    step: int
    reason: str
    best_step: int


TuningEvent = RateTried | RateChosen | StepDone | Validated | Warned | Finished


def event_to_json(event: TuningEvent) -> dict[str, Any]:
    """The fields of an event, and its `type`: `rate_tried`, `rate_chosen`, `step`, `validation`, `warning`, `end`."""
    return {"type": _TYPES[type(event)], **{name: getattr(event, name) for name in event.__slots__}}


_TYPES: dict[type[TuningEvent], str] = {
    RateTried: "rate_tried",
    RateChosen: "rate_chosen",
    StepDone: "step",
    Validated: "validation",
    Warned: "warning",
    Finished: "end",
}


_KINDS: dict[object, type[TuningEvent]] = {name: kind for kind, name in _TYPES.items()}


def event_from_json(fields: Mapping[str, Any]) -> TuningEvent:
    """The event that `event_to_json` gave. Raises ValueError for what is none."""
    kind = _KINDS.get(fields.get("type"))
    if kind is None:
        raise ValueError("not an event of a tuning run")
    return kind(**{name: value for name, value in fields.items() if name != "type"})
