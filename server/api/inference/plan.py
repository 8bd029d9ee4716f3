"""The contracts of a call, its plan (the engine requests) and its answer."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from server.answering.generation import TextEvent
from server.api.inference.answer_form import AnswerForm
from server.api.inference.request_context import RequestContext
from server.api.inference.served_model import ServedModel
from server.api.wire.bodies import ResponseBody
from server.engine.events import Encoded, Scored
from server.engine.request import Encode, Generate, Request, SamplingParams, Score
from server.structured_outputs.compiled import CompiledConstraint

BodyT = TypeVar("BodyT", bound=ResponseBody)
AnswerEvent = TextEvent | Scored | Encoded


class Answer(Protocol[BodyT]):
    """Writes one answer in the form of its route."""

    async def body(self, events: AsyncIterable[AnswerEvent]) -> BodyT:
        """The whole answer."""

    def texts(self, body: BodyT) -> tuple[str, ...]:
        """The texts or labels to compare with a shadow's answer: one per prompt and choice."""


class StreamedAnswer(Answer[BodyT], Protocol[BodyT]):
    """An answer that can be sent as a stream."""

    def chunks(self, events: AsyncIterable[AnswerEvent]) -> AsyncIterator[str]:
        """The answer in pieces, each as JSON on one line."""


AnswerT_co = TypeVar("AnswerT_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class GeneratePlan(Generic[AnswerT_co]):
    """Texts to generate: one request per prompt and prefix of the served model, in this order.

    `is_continued`: the answers continue the text of their prompts (`template.is_continued`).
    """

    requests: tuple[Request[Generate], ...]
    answer: AnswerT_co
    is_continued: bool
    stop: tuple[str, ...] = ()
    echo: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether the same requests always give the same text."""
        return all(request.kind.sampling.temperature == 0 for request in self.requests)


@dataclass(frozen=True, slots=True, eq=False)
class ScorePlan(Generic[AnswerT_co]):
    """Continuations to score: one request per prompt and prefix of the served model, in this order."""

    requests: tuple[Request[Score], ...]
    answer: AnswerT_co
    is_repeatable = True


@dataclass(frozen=True, slots=True, eq=False)
class EncodePlan(Generic[AnswerT_co]):
    """Hidden states to put heads on: one request per prompt and part of the served model, in this order."""

    requests: tuple[Request[Encode], ...]
    answer: AnswerT_co
    is_repeatable = True


Plan = GeneratePlan[AnswerT_co] | ScorePlan[AnswerT_co] | EncodePlan[AnswerT_co]


def as_batch(plan: Plan[AnswerT_co]) -> Plan[AnswerT_co]:
    """The same plan, whose requests yield to those that somebody waits for."""
    return replace(plan, requests=tuple(replace(request, is_batch=True) for request in plan.requests))  # type: ignore[arg-type]  # each kind of plan keeps its own kind of requests


def encode_requests(
    prompts: Sequence[tuple[int, ...]],
    served: ServedModel,
    context: RequestContext,
) -> tuple[Request[Encode], ...]:
    """The prompts, each behind the prefix and under the head of every part of the served model."""
    return tuple(
        Request(
            request_id=f"encode-{uuid.uuid4().hex}",
            task=served.task,
            prompt_token_ids=prompt,
            kind=Encode(head),
            prefix=prefix,
            salt=context.salt,
            priority=context.priority,
        )
        for prompt in prompts
        for prefix, head in zip(served.prefixes, served.heads, strict=True)
    )


def generate_requests(
    form: AnswerForm,
    served: ServedModel,
    context: RequestContext,
    sampling: SamplingParams,
    constraint: CompiledConstraint | None = None,
) -> tuple[Request[Generate], ...]:
    """The form's prompts, each behind every prefix of the served model."""
    return tuple(
        Request(
            request_id=f"{form.id}-{number}",
            task=served.task,
            prompt_token_ids=prompt,
            kind=Generate(sampling, form.num_choices, constraint),
            prefix=prefix,
            salt=context.salt,
            priority=context.priority,
        )
        for number, (prompt, prefix) in enumerate(itertools.product(form.prompts, served.prefixes))
    )


class Call(Protocol[AnswerT_co]):
    """A checked body of one route."""

    @property
    def model(self) -> str:
        """The task reference, or a name of the base model."""

    async def plan(self, served: ServedModel, context: RequestContext) -> Plan[AnswerT_co]:
        """Convert the body for a served model. Nothing runs yet.

        Raises `InvalidRequest` and `TextError` for a body that this model cannot serve.
        """
