"""Requests that tests make, and what tests read of their events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from server.engine.events import (
    ChoiceFinished,
    EngineEvent,
    FinishReason,
    PromptProcessed,
    TokenEvent,
)
from server.engine.paged.generate_group import GenerateGroup
from server.engine.request import Generate, Request, SamplingParams
from server.model.errors import NonFiniteValues
from server.model.prefix import Prefix
from server.structured_outputs.compiled import CompiledConstraint
from tests.engine.paged.scripted_runner import EOS, NAN_TOKEN


def tokens_of(events: Sequence[EngineEvent], choice: int = 0) -> tuple[int, ...]:
    """The tokens of one choice."""
    return tuple(event.token_id for event in events if isinstance(event, TokenEvent) and event.choice == choice)


def reason_of(events: Sequence[EngineEvent], choice: int = 0) -> FinishReason | None:
    """Why a choice ended, or None."""
    for event in events:
        if isinstance(event, TokenEvent | ChoiceFinished) and event.choice == choice and event.finish_reason:
            return event.finish_reason
    return None


def prompt_event(events: Sequence[EngineEvent]) -> PromptProcessed:
    """The one event that says the prompt is processed."""
    (event,) = [event for event in events if isinstance(event, PromptProcessed)]
    return event


def is_nan(cause: BaseException) -> bool:
    """Whether a request failed because the model answered it with NaN, said by the model layer or by the engine."""
    return isinstance(cause, NonFiniteValues) or isinstance(cause.__cause__, NonFiniteValues)


def text(length: int, seed: int = 0) -> tuple[int, ...]:
    """Harmless prompt tokens: neither the end token nor the NaN token."""
    rng = random.Random(seed)
    return tuple(rng.randrange(1, NAN_TOKEN) for _ in range(length))


def generate(
    name: str,
    prompt: tuple[int, ...] = (1, 2, 3),
    *,
    task: str = "",
    prefix: Prefix | None = None,
    num_choices: int = 1,
    salt: bytes = b"",
    **sampling: object,
) -> Request[Generate]:
    """A greedy request of eight tokens that does not stop early, unless said otherwise."""
    values: dict[str, object] = {
        "max_tokens": 8,
        "temperature": 0.0,
        "ignore_eos": True,
        "logit_bias": ((NAN_TOKEN, -100.0),),
    }
    params = SamplingParams(**(values | sampling))  # type: ignore[arg-type]
    return Request(name, task, prompt, Generate(params, num_choices), prefix, salt)


def with_form(request: Request[Generate], constraint: CompiledConstraint) -> Request[Generate]:
    """The same request, whose answers have a form."""
    return replace(request, kind=replace(request.kind, constraint=constraint))


def generate_group(name: str, prompt: tuple[int, ...], **changes: object) -> GenerateGroup:
    """The group of such a request, which nobody computes."""
    request = generate(name, prompt, **changes)  # type: ignore[arg-type]
    return GenerateGroup(request, request.kind, lambda event: None, 0, frozenset({EOS}))
