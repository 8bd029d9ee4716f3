"""`POST /v1/classify`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.inference.classify_call import ClassifyCall
from server.api.inference.inference import InferenceDep
from server.api.inference.request_context import ContextDep
from server.api.responses.documented import answered_by_task, errors
from server.api.wire.classify import ClassifyRequest, ClassifyResult

router = APIRouter(tags=["classify"], route_class=GuardedRoute)


@router.post(
    "/v1/classify",
    name="create",
    summary="Classify texts",
    response_model=ClassifyResult,
    responses=answered_by_task() | errors(404, 413, 415, 429),
    dependencies=[requires(Scope.INFER)],
)
async def classify(body: ClassifyRequest, request: Request, inference: InferenceDep, context: ContextDep) -> Response:
    """Choose a label for each input. Every label is scored as the model's whole answer to the input.

    A task with a head answers with it: labels or numbers (SEQ_CLS), labelled tokens (TOKEN_CLS), or the parts of a text
    that answer a question (QUESTION_ANS).
    """
    return await inference.answer(request, ClassifyCall(body, inference), context.with_priority(body.priority))
