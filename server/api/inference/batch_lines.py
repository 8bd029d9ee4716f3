"""Lines of batches, answered by the calls of their routes, without the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prompts_store.errors import StoreUnavailable
from server.api.access.authentication import Scope
from server.api.access.key_ring import KeyRing
from server.api.access.overload import OverloadGuard
from server.api.errors import RateLimited
from server.api.inference.chat_call import ChatCall
from server.api.inference.classify_call import ClassifyCall
from server.api.inference.completion_call import CompletionCall
from server.api.inference.embedding_call import EmbeddingCall
from server.api.inference.inference import Inference
from server.api.inference.plan import Answer, Call
from server.api.inference.request_context import RequestContext
from server.api.responses.error_responses import error_answer
from server.api.responses.json_response import json_text
from server.api.wire.bodies import ResponseBody
from server.api.wire.chat import ChatRequest
from server.api.wire.classify import ClassifyRequest
from server.api.wire.completions import CompletionRequest
from server.api.wire.embeddings import EmbeddingsRequest
from server.batches.asker import Ask, LineAnswer, TryLater
from server.engine.errors import EngineOverloaded, EngineStopped

_Body = CompletionRequest | ChatRequest | ClassifyRequest | EmbeddingsRequest
_MakeCall = Callable[[Any, Inference], Call[Answer[Any]]]

ENDPOINTS: Mapping[str, tuple[type[_Body], _MakeCall]] = {
    "/v1/completions": (CompletionRequest, CompletionCall),
    "/v1/chat/completions": (ChatRequest, ChatCall),
    "/v1/classify": (ClassifyRequest, ClassifyCall),
    "/v1/embeddings": (EmbeddingsRequest, EmbeddingCall),
}
"""The routes that a batch can ask: the body of each, and its call."""

_SOON_S = 1.0
_AT_ONCE_S = 0.1
_SLOTS_TAKEN = "too_many_concurrent_requests"


@dataclass(frozen=True, slots=True, eq=False)
class BatchLines:
    """Implements `LineAsker`. A line has the rights and quotas that its owner has at the time it is asked."""

    inference: Inference
    keys: KeyRing

    @classmethod
    def beside(cls, inference: Inference, keys: KeyRing) -> BatchLines:
        """Answer lines with the models of `inference`. They are no load for which live requests are refused."""
        return cls(replace(inference, is_batch=True, overload=OverloadGuard()), keys)

    async def ask(self, ask: Ask) -> LineAnswer:
        """See `LineAsker`."""
        try:
            return LineAnswer(200, json_text(await self._body(ask)))
        except RateLimited as error:
            raise TryLater(_AT_ONCE_S if error.code == _SLOTS_TAKEN else error.retry_after_s) from error
        except (EngineOverloaded, EngineStopped, StoreUnavailable) as error:
            raise TryLater(_SOON_S) from error
        except Exception as error:  # the edge of a line: whatever fails is the line's own result
            status, body = error_answer(error, ask.request_id)
            return LineAnswer(status, body.model_dump_json())

    async def _body(self, ask: Ask) -> ResponseBody:
        caller = self.keys.named(ask.owner)
        caller.check_scope(Scope.INFER)
        body_type, make_call = ENDPOINTS[ask.endpoint]
        body = body_type.model_validate(ask.body)
        context = RequestContext(caller, caller.salt, payer=caller, sticky_key=ask.sticky_key)
        context = context.with_priority(body.priority)
        async with self.inference.quotas.request(caller):
            answer: ResponseBody = await self.inference.body(make_call(body, self.inference), context)
            return answer
