"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from server.answering.generation import Generation
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest
from server.api.inference.answer_form import AnswerForm
from server.api.inference.chat_answer import ChatCompletionAnswer
from server.api.inference.ensembles import check_votable, votable_tokens
from server.api.inference.inference import respond, start_generation
from server.api.inference.prompts import encode_chat
from server.api.inference.request_context import DeadlineDep, Terms, request_terms
from server.api.inference.sampling import (
    check_num_logprobs,
    check_stream_options,
    num_choices,
    sampling_params,
    stop_strings,
)
from server.api.inference.sticky_key import StickyKeyDep
from server.api.inference.target import Target, resolve_target
from server.api.limits import ApiLimits
from server.api.responses.documented import errors, event_stream
from server.api.services import Services, ServicesDep
from server.api.wire.chat import ChatCompletion, ChatRequest
from server.tokenizer.template import PromptForm

router = APIRouter(tags=["chat"], route_class=GuardedRoute)


@router.post(
    "/v1/chat/completions",
    name="complete",
    response_model=ChatCompletion,
    responses=event_stream("ChatCompletionChunk") | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def complete_chat(
    body: ChatRequest,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    deadline: DeadlineDep,
    sticky_key: StickyKeyDep,
) -> Response:
    """Answer a conversation. With `stream`, the answer comes as server-sent events."""
    check_stream_options(body)
    terms = request_terms(caller, body.priority, deadline)
    target = await resolve_target(services, caller, body.model, sticky_key)
    start = partial(_start, services, body)
    return await respond(request, services, target, terms, start, stream=bool(body.stream))


async def _start(
    services: Services, body: ChatRequest, target: Target, terms: Terms
) -> tuple[Generation, ChatCompletionAnswer]:
    check_votable(body, target)
    limits, defaults = services.settings.limits, target.manifest.defaults
    prompt = await encode_chat(services.tokenizer, target, body.messages, limits)
    room = services.engine.max_context - target.num_virtual_tokens - len(prompt)
    max_tokens = _max_tokens(body, defaults, room)
    is_asked = body.max_tokens is not None or body.max_completion_tokens is not None
    sampling = sampling_params(
        body,
        defaults,
        limits,
        max_tokens=votable_tokens(max_tokens, target, limits, is_asked=is_asked),
        num_logprobs=_num_logprobs(body, limits),
    )
    form = AnswerForm.of(
        body,
        target,
        (prompt,),
        id_prefix="chatcmpl",
        num_choices=num_choices(body, limits, len(target.prefixes)),
        with_logprobs=bool(body.logprobs),
    )
    stop = stop_strings(body, target.manifest.stop, limits)
    generation = await start_generation(services, target, terms, form, sampling, stop, prompt_form=PromptForm.CHAT)
    return generation, ChatCompletionAnswer(form)


def _max_tokens(body: ChatRequest, defaults: Mapping[str, Any], room: int) -> int:
    """The request's limit, else the version's, else all that the context has room for (1 where it has none)."""
    given = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(given) > 1:
        raise InvalidRequest("max_tokens and max_completion_tokens differ", param="max_completion_tokens")
    limit = given.pop() if given else defaults.get("max_tokens")
    return limit if limit is not None else max(room, 1)


def _num_logprobs(body: ChatRequest, limits: ApiLimits) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
    if not body.logprobs:
        return None
    return check_num_logprobs(body.top_logprobs or 0, limits, "top_logprobs")
