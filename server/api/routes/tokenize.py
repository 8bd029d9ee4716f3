"""`POST /tokenize` and `POST /detokenize`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.inference.inference import InferenceDep
from server.api.inference.prompts import encode_texts
from server.api.inference.request_context import StickyKeyDep
from server.api.responses.documented import answered_by_task, errors
from server.api.responses.json_response import json_response
from server.api.wire.tokenize import DetokenizeRequest, DetokenizeResult, TokenizeRequest, TokenizeResult

router = APIRouter(tags=["tokens"], route_class=GuardedRoute)


@router.post(
    "/tokenize",
    name="tokenize",
    summary="Turn a text into token ids",
    response_model=TokenizeResult,
    responses=answered_by_task() | errors(404, 413, 415),
    dependencies=[requires(Scope.INFER)],
)
async def tokenize(
    body: TokenizeRequest, inference: InferenceDep, caller: CallerDep, sticky_key: StickyKeyDep
) -> Response:
    """Return the token ids of a prompt, exactly as a completion would use them."""
    served = await inference.resolve(caller, body.model, sticky_key)
    (token_ids,) = await encode_texts(
        inference.tokenizer, served, [body.prompt], add_special_tokens=body.add_special_tokens
    )
    result = TokenizeResult(
        tokens=list(token_ids),
        count=len(token_ids),
        num_virtual_tokens=served.num_virtual_tokens,
        max_model_len=inference.engine.max_context,
    )
    return json_response(result, headers=served.headers)


@router.post(
    "/detokenize",
    name="detokenize",
    summary="Turn token ids into a text",
    response_model=DetokenizeResult,
    responses=answered_by_task() | errors(404, 413, 415),
    dependencies=[requires(Scope.INFER)],
)
async def detokenize(
    body: DetokenizeRequest, inference: InferenceDep, caller: CallerDep, sticky_key: StickyKeyDep
) -> Response:
    """Return the text of token ids."""
    served = await inference.resolve(caller, body.model, sticky_key)
    inference.tokenizer.check_ids(body.tokens)
    text = await inference.tokenizer.run(inference.tokenizer.decode, body.tokens, skip_special_tokens=False)
    result = DetokenizeResult(prompt=text, num_virtual_tokens=served.num_virtual_tokens)
    return json_response(result, headers=served.headers)
