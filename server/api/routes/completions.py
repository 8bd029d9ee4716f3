"""`POST /v1/completions`."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from server.answering.generation import Generation
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.inference.answer_form import AnswerForm
from server.api.inference.completion_answer import CompletionAnswer
from server.api.inference.ensembles import check_votable, votable_tokens
from server.api.inference.inference import respond, start_generation
from server.api.inference.prompts import encode_prompts, form_of
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
from server.api.responses.documented import errors, event_stream
from server.api.services import Services, ServicesDep
from server.api.wire.completions import Completion, CompletionRequest

_DEFAULT_MAX_TOKENS = 16

router = APIRouter(tags=["completions"], route_class=GuardedRoute)


@router.post(
    "/v1/completions",
    name="create",
    response_model=Completion,
    responses=event_stream("CompletionChunk") | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def create_completion(
    body: CompletionRequest,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    deadline: DeadlineDep,
    sticky_key: StickyKeyDep,
) -> Response:
    """Continue one or more prompts. With `stream`, the answer comes as server-sent events."""
    check_stream_options(body)
    terms = request_terms(caller, body.priority, deadline)
    target = await resolve_target(services, caller, body.model, sticky_key)
    start = partial(_start, services, body)
    return await respond(request, services, target, terms, start, stream=bool(body.stream))


async def _start(
    services: Services, body: CompletionRequest, target: Target, terms: Terms
) -> tuple[Generation, CompletionAnswer]:
    check_votable(body, target)
    limits, tokenizer = services.settings.limits, services.tokenizer
    defaults = target.manifest.defaults
    prompts = await encode_prompts(tokenizer, target, body.prompt, limits)
    num_logprobs = check_num_logprobs(body.logprobs, limits, "logprobs")
    max_tokens = body.max_tokens if body.max_tokens is not None else defaults.get("max_tokens", _DEFAULT_MAX_TOKENS)
    max_tokens = votable_tokens(max_tokens, target, limits, is_asked=body.max_tokens is not None)
    sampling = sampling_params(
        body,
        defaults,
        limits,
        max_tokens=max_tokens,
        num_logprobs=num_logprobs,
        prompt_logprobs=num_logprobs if body.echo else None,
    )
    form = AnswerForm.of(
        body,
        target,
        prompts,
        id_prefix="cmpl",
        num_choices=num_choices(body, limits, len(prompts) * len(target.prefixes)),
        with_logprobs=num_logprobs is not None,
    )
    stop = stop_strings(body, target.manifest.stop, limits)
    generation = await start_generation(
        services, target, terms, form, sampling, stop, prompt_form=form_of(body.prompt), echo=bool(body.echo)
    )
    return generation, CompletionAnswer(form, tokenizer)
