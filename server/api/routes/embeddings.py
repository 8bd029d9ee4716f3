"""`POST /v1/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.inference.embedding_call import EmbeddingCall
from server.api.inference.inference import InferenceDep
from server.api.inference.request_context import ContextDep
from server.api.responses.documented import answered_by_task, errors
from server.api.wire.embeddings import EmbeddingList, EmbeddingsRequest

router = APIRouter(tags=["embeddings"], route_class=GuardedRoute)


@router.post(
    "/v1/embeddings",
    name="create",
    summary="Create embeddings",
    response_model=EmbeddingList,
    responses=answered_by_task() | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def create_embeddings(
    body: EmbeddingsRequest, request: Request, inference: InferenceDep, context: ContextDep
) -> Response:
    """Turn each input into a vector of hidden states. The task must be for FEATURE_EXTRACTION."""
    return await inference.answer(request, EmbeddingCall(body, inference), context.with_priority(body.priority))
