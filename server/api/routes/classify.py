"""`POST /v1/classify`."""

from __future__ import annotations

import time
import uuid

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest
from server.api.inference.classification import chosen_labels, classification, label_token_ids, score_prompts
from server.api.inference.disconnect import unless_disconnected
from server.api.inference.prompts import encode_texts, refuse_empty
from server.api.inference.request_context import DeadlineDep, before, request_terms
from server.api.inference.sticky_key import StickyKeyDep
from server.api.inference.target import Target, resolve_target
from server.api.inference.usage import usage_of
from server.api.responses.documented import answered_by_task, errors
from server.api.responses.json_response import json_response
from server.api.services import ServicesDep
from server.api.wire.classify import ClassifyRequest, ClassifyResult

router = APIRouter(tags=["classify"], route_class=GuardedRoute)


@router.post(
    "/v1/classify",
    name="create",
    response_model=ClassifyResult,
    responses=answered_by_task() | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def classify(
    body: ClassifyRequest,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    deadline: DeadlineDep,
    sticky_key: StickyKeyDep,
) -> Response:
    """Choose between labels: each is scored as the model's whole answer to the input."""
    limits, tokenizer = services.settings.limits, services.tokenizer
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if not 0 < len(inputs) <= limits.max_inputs:
        raise InvalidRequest(f"there are 1 to {limits.max_inputs} inputs", param="input")
    terms = request_terms(caller, body.priority, deadline)
    target = await resolve_target(services, caller, body.model, sticky_key)
    labels = chosen_labels(body.labels, target, len(inputs), limits)
    continuations = await label_token_ids(services, labels)
    refuse_empty(inputs, "input")
    prompts = await encode_texts(tokenizer, target, inputs)
    work = services.admission.begin()
    try:
        async with before(terms.deadline):
            scoring = score_prompts(services, target, terms, prompts, continuations)
            scored = await unless_disconnected(request, scoring)
        work.answered()
    finally:
        work.given_up()

    async def rerun(shadow: Target) -> tuple[str, ...]:
        its_labels = chosen_labels(body.labels, shadow, len(inputs), limits)
        its_continuations = await label_token_ids(services, its_labels)
        its_prompts = await encode_texts(tokenizer, shadow, inputs)
        again = await score_prompts(services, shadow, terms.for_shadow(), its_prompts, its_continuations)
        return tuple(classification(index, its_labels, one).label for index, one in enumerate(again))

    result = ClassifyResult(
        id=f"classify-{uuid.uuid4().hex}",
        object="classification",
        created=int(time.time()),
        model=body.model,
        data=[classification(index, labels, one) for index, one in enumerate(scored)],
        usage=usage_of(
            num_prompt=sum(map(len, prompts)) * len(target.prefixes),
            num_completion=0,
            num_cached=sum(run.num_cached_tokens for one in scored for run in one),
            num_virtual=sum(target.prefix_lengths) * len(prompts),
        ),
    )
    services.shadows.offer(target, tuple(one.label for one in result.data), rerun)
    return json_response(result, headers=target.headers)
