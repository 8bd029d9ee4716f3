"""From a checked request to its response: what completions and chat have in common."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Protocol

from fastapi import Request
from starlette.responses import Response

from server.answering.generation import Generation, TextEvent
from server.answering.votes import voted
from server.api.access.overload import Work
from server.api.inference.answer_form import AnswerForm
from server.api.inference.disconnect import unless_disconnected
from server.api.inference.request_context import Terms, pay_for_prompts, until
from server.api.inference.target import Target
from server.api.responses.event_stream import EventStreamResponse
from server.api.responses.json_response import json_response
from server.api.services import Services
from server.api.wire.bodies import ResponseBody
from server.api.wire.chat import ChatCompletion
from server.api.wire.completions import Completion
from server.engine.request import GenerateRequest, SamplingParams
from server.tokenizer.template import PromptForm, is_continued


class Answer(Protocol):
    """Writes text events in the form of one route."""

    async def body(self, events: AsyncIterable[TextEvent]) -> Completion | ChatCompletion:
        """The whole answer at once."""

    def chunks(self, events: AsyncIterable[TextEvent]) -> AsyncIterator[ResponseBody]:
        """The answer as it grows."""


Start = Callable[[Target, Terms], Awaitable[tuple[Generation, Answer]]]
"""Begins a request's generation by a target, on terms, and says what writes its answer."""


async def start_generation(
    services: Services,
    target: Target,
    terms: Terms,
    form: AnswerForm,
    sampling: SamplingParams,
    stop: tuple[str, ...],
    *,
    prompt_form: PromptForm,
    echo: bool = False,
) -> Generation:
    """Hand the form's prompts to the engine, each behind every prefix of the target.

    Raises `RateLimited`, `QuotaTooSmall`, `RequestRefused`, `EngineOverloaded` or `EngineStopped`.
    """
    requests = [
        GenerateRequest(
            request_id=f"{form.id}-{number}",
            task=target.task,
            prompt_token_ids=prompt,
            sampling=sampling,
            prefix=prefix,
            num_choices=form.num_choices,
            salt=terms.salt,
            priority=terms.priority,
        )
        for number, (prompt, prefix) in enumerate(itertools.product(form.prompts, target.prefixes))
    ]
    services.engine.check(requests)
    await pay_for_prompts(services, terms, sum(len(request.prompt_token_ids) for request in requests))
    continued = is_continued(target.manifest.template, prompt_form)
    generation = Generation(services.engine, services.tokenizer, requests, is_continued=continued, stop=stop, echo=echo)
    generation.start()
    return generation


async def respond(
    request: Request, services: Services, target: Target, terms: Terms, start: Start, *, stream: bool
) -> Response:
    """The response to a generation, which is closed when the response is done, its time over, or its client gone."""
    generation, answer = await start(target, terms)
    work = services.admission.begin()

    def close() -> None:
        generation.close()
        work.given_up()
        if terms.payer is not None:
            services.quotas.charge_tokens(terms.payer, generation.num_output_tokens)

    events = _noted(until(terms.deadline, generation), work)
    if stream:  # never of an ensemble: `check_votable`
        return EventStreamResponse(answer.chunks(events), headers=target.headers, close=close)
    try:
        body = await unless_disconnected(request, answer.body(_answers(events, target)))
    finally:
        close()

    async def rerun(shadow: Target) -> tuple[str, ...]:
        second, its_answer = await start(shadow, terms.for_shadow())
        try:
            return _texts(await its_answer.body(_answers(second, shadow)))
        finally:
            second.close()

    if generation.is_greedy:
        services.shadows.offer(target, _texts(body), rerun)
    return json_response(body, headers=target.headers)


async def _noted(events: AsyncIterable[TextEvent], work: Work) -> AsyncIterator[TextEvent]:
    """The events; once all have come, the request is known to be answered."""
    async for event in events:
        yield event
    work.answered()


def _answers(events: AsyncIterable[TextEvent], target: Target) -> AsyncIterable[TextEvent]:
    return voted(events, len(target.prefixes)) if target.is_ensemble else events


def _texts(body: Completion | ChatCompletion) -> tuple[str, ...]:
    if isinstance(body, Completion):
        return tuple(choice.text for choice in body.choices)
    return tuple(choice.message.content for choice in body.choices)
