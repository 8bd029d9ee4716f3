"""Events of a run: frozen records. `event_to_json` is their form on the wire and in stores.

Every number is finite, because JSON cannot represent NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RateTried:
    """One learning rate of the sweep, and the validation loss after its steps; None if it diverged."""

    learning_rate: float
    loss: float | None


@dataclass(frozen=True, slots=True)
class RateChosen:
    """The learning rate of the run."""

    learning_rate: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step.

    `loss` is the mean negative log-likelihood per completion token, in nats, before the step. `grad_norm` is the
    gradient's norm before clipping. `update_ratio` is the norm of the step divided by the norm of the virtual tokens.
    `distance` is the norm of their change since the start, divided by their norm at the start.
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
    """Result of a validation after `step` steps.

    `exact_match` is the share of examples in which every completion token is the most likely one after the correct
    tokens before it. The end token counts too. Greedy decoding answers exactly these examples correctly.
    """

    step: int
    loss: float
    token_accuracy: float
    exact_match: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class Warned:
    """A problem that a person should check, in plain words.

    `code` is `not_learning`, `diverging`, `overfitting`, `update_too_large` or `update_too_small`.
    """

    step: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Extended:
    """After its last planned step a run still improves, so it goes on. `num_steps` is its new number of steps."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class Finished:
    """End of a run. `reason` is `steps`, `early_stop` or `diverged`. The result is the state after `best_step`."""

    step: int
    reason: str
    best_step: int


TuningEvent = RateTried | RateChosen | StepDone | Validated | Warned | Extended | Finished


def event_to_json(event: TuningEvent) -> dict[str, Any]:
    """Fields of an event, and its `type`, such as `step` or `validation` (`_TYPES` has all)."""
    return {"type": _TYPES[type(event)], **{name: getattr(event, name) for name in event.__slots__}}


_TYPES: dict[type[TuningEvent], str] = {
    RateTried: "rate_tried",
    RateChosen: "rate_chosen",
    StepDone: "step",
    Validated: "validation",
    Warned: "warning",
    Extended: "extension",
    Finished: "end",
}


_KINDS: dict[object, type[TuningEvent]] = {name: kind for kind, name in _TYPES.items()}


def event_from_json(fields: Mapping[str, Any]) -> TuningEvent:
    """Inverse of `event_to_json`. Raises ValueError for an unknown type."""
    kind = _KINDS.get(fields.get("type"))
    if kind is None:
        raise ValueError("not an event of a tuning run")
    return kind(**{name: value for name, value in fields.items() if name != "type"})
