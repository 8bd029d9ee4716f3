"""`POST /v1/chat/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.inference.chat_call import ChatCall
from server.api.inference.inference import InferenceDep
from server.api.inference.request_context import ContextDep
from server.api.responses.documented import errors, event_stream
from server.api.wire.chat import ChatCompletion, ChatRequest

router = APIRouter(tags=["chat"], route_class=GuardedRoute)


@router.post(
    "/v1/chat/completions",
    name="complete",
    summary="Answer a chat",
    response_model=ChatCompletion,
    responses=event_stream("ChatCompletionChunk") | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def complete_chat(body: ChatRequest, request: Request, inference: InferenceDep, context: ContextDep) -> Response:
    """Answer a conversation. With `stream`, the answer is sent as server-sent events."""
    call, context = ChatCall(body, inference), context.with_priority(body.priority)
    return await (inference.stream(call, context) if body.stream else inference.answer(request, call, context))
