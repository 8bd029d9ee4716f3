"""From a checked request to its response: what completions and chat have in common."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Protocol

from fastapi import Request
from starlette.responses import Response

from server.answering.generation import Generation, TextEvent
from server.api.answer_form import AnswerForm
from server.api.disconnect import unless_disconnected
from server.api.event_stream import EventStreamResponse
from server.api.json_response import json_response
from server.api.services import Services
from server.api.target import Target
from server.api.wire.bodies import ResponseBody
from server.api.wire.chat import ChatCompletion
from server.api.wire.completions import Completion
from server.engine.request import GenerateRequest, SamplingParams


class Answer(Protocol):
    """Writes text events in the form of one route."""

    async def body(self, events: AsyncIterable[TextEvent]) -> Completion | ChatCompletion:
        """The whole answer at once."""

    def chunks(self, events: AsyncIterable[TextEvent]) -> AsyncIterator[ResponseBody]:
        """The answer as it grows."""


Start = Callable[[Target], Awaitable[tuple[Generation, Answer]]]
"""Begins a request's generation by a target, and says what writes its answer."""


def start_generation(
    services: Services,
    target: Target,
    form: AnswerForm,
    sampling: SamplingParams,
    stop: tuple[str, ...],
    *,
    echo: bool = False,
) -> Generation:
    """Hand the form's prompts to the engine. Raises `RequestRefused`, `EngineOverloaded` or `EngineStopped`."""
    requests = [
        GenerateRequest(
            request_id=f"{form.id}-{number}",
            task=target.task,
            prompt_token_ids=prompt,
            sampling=sampling,
            prefix=target.prefix,
            num_choices=form.num_choices,
        )
        for number, prompt in enumerate(form.prompts)
    ]
    generation = Generation(services.engine, services.tokenizer, requests, stop=stop, echo=echo)
    generation.start()
    return generation


async def respond(request: Request, services: Services, target: Target, start: Start, *, stream: bool) -> Response:
    """The response to a generation, which is closed when the response is done or its client gone."""
    generation, answer = await start(target)
    if stream:
        return EventStreamResponse(answer.chunks(generation), headers=target.headers, close=generation.close)
    try:
        body = await unless_disconnected(request, answer.body(generation))
    finally:
        generation.close()

    async def rerun(shadow: Target) -> tuple[str, ...]:
        second, its_answer = await start(shadow)
        try:
            return _texts(await its_answer.body(second))
        finally:
            second.close()

    if generation.is_greedy:
        services.shadows.offer(target, _texts(body), rerun)
    return json_response(body, headers=target.headers)


def _texts(body: Completion | ChatCompletion) -> tuple[str, ...]:
    if isinstance(body, Completion):
        return tuple(choice.text for choice in body.choices)
    return tuple(choice.message.content for choice in body.choices)
