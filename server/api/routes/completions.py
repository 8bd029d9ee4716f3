"""`POST /v1/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.inference.completion_call import CompletionCall
from server.api.inference.inference import InferenceDep
from server.api.inference.request_context import ContextDep
from server.api.responses.documented import errors, event_stream
from server.api.wire.completions import Completion, CompletionRequest

router = APIRouter(tags=["completions"], route_class=GuardedRoute)


@router.post(
    "/v1/completions",
    name="create",
    summary="Create a completion",
    response_model=Completion,
    responses=event_stream("CompletionChunk") | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def create_completion(
    body: CompletionRequest, request: Request, inference: InferenceDep, context: ContextDep
) -> Response:
    """Continue one or more prompts. With `stream`, the answer is sent as server-sent events."""
    call, context = CompletionCall(body, inference), context.with_priority(body.priority)
    return await (inference.stream(call, context) if body.stream else inference.answer(request, call, context))
