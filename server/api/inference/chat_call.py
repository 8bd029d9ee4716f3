"""A chat completion: a conversation, answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.api.errors import InvalidRequest
from server.api.inference.answer_form import AnswerForm
from server.api.inference.chat_answer import ChatCompletionAnswer
from server.api.inference.inference import Inference
from server.api.inference.plan import GeneratePlan, generate_requests
from server.api.inference.prompts import encode_chat
from server.api.inference.request_context import RequestContext
from server.api.inference.sampling import (
    NO_LIMIT,
    chat_defaults,
    check_num_logprobs,
    check_votable,
    num_choices,
    sampling_params,
    stop_strings,
    votable_tokens,
)
from server.api.inference.served_model import ServedModel
from server.api.inference.structured import compiled_constraint
from server.api.limits import ApiLimits
from server.api.wire.chat import ChatRequest
from server.tokenizer.template import PromptForm


@dataclass(frozen=True, slots=True, eq=False)
class ChatCall:
    """A body of `POST /v1/chat/completions`."""

    body: ChatRequest
    inference: Inference

    @property
    def model(self) -> str:
        """The body's `model`."""
        return self.body.model

    async def plan(self, served: ServedModel, context: RequestContext) -> GeneratePlan[ChatCompletionAnswer]:
        """The conversation behind every prefix of the served model.

        Raises `InvalidRequest`, `ChatRefused`, and as `compiled_constraint` does.
        """
        body, limits = self.body, self.inference.limits
        self.inference.base_facts.check_generates(served)
        check_votable(body, served)
        defaults = served.manifest.defaults
        prompt = await encode_chat(self.inference.tokenizer, served, body.messages, limits)
        max_tokens = _max_tokens(body, defaults, self.inference.room(served, len(prompt)), limits)
        is_asked = bool({body.max_tokens, body.max_completion_tokens} - {None, NO_LIMIT})
        sampling = sampling_params(
            body,
            chat_defaults(defaults, self.inference.chat_defaults),
            limits,
            max_tokens=votable_tokens(max_tokens, served, limits, is_asked=is_asked),
            num_logprobs=_num_logprobs(body, limits),
        )
        form = AnswerForm.of(
            body,
            served,
            (prompt,),
            id_prefix="chatcmpl",
            num_choices=num_choices(body, limits, len(served.prefixes)),
            with_logprobs=bool(body.logprobs),
        )
        stop = stop_strings(body, served.manifest.stop, limits)
        continued = self.inference.base_facts.is_continued(PromptForm.CHAT, served)
        constraint = await compiled_constraint(body, served, self.inference.constraints, is_continued=continued)
        requests = generate_requests(form, served, context, sampling, constraint)
        return GeneratePlan(requests, ChatCompletionAnswer(form), continued, stop)


def _max_tokens(body: ChatRequest, defaults: Mapping[str, Any], num_left: int, limits: ApiLimits) -> int:
    """The request's limit, else the version's, else the server's within the `num_left` of the context."""
    given = {limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None}
    if len(given) > 1:
        message = "max_tokens and max_completion_tokens differ: send only one of them"
        raise InvalidRequest(message, param="max_completion_tokens")
    max_tokens = given.pop() if given else defaults.get("max_tokens")
    if max_tokens is not None:
        return num_left if max_tokens == NO_LIMIT else int(max_tokens)
    if limits.max_chat_tokens == 0:
        return num_left
    min_tokens = defaults.get("min_tokens", 0) if body.min_tokens is None else body.min_tokens
    return min(num_left, max(limits.max_chat_tokens, min_tokens))


def _num_logprobs(body: ChatRequest, limits: ApiLimits) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: set logprobs to true", param="top_logprobs")
    if not body.logprobs:
        return None
    return check_num_logprobs(body.top_logprobs or 0, limits, "top_logprobs")
