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
    check_num_logprobs,
    check_stream_options,
    check_votable,
    num_choices,
    room,
    sampling_params,
    stop_strings,
    votable_tokens,
)
from server.api.inference.target import Target
from server.api.limits import ApiLimits
from server.api.wire.chat import ChatRequest
from server.tokenizer.template import PromptForm, is_continued


@dataclass(frozen=True, slots=True, eq=False)
class ChatCall:
    """A body of `POST /v1/chat/completions`. Raises `InvalidRequest` for options of a stream without one."""

    body: ChatRequest
    inference: Inference

    def __post_init__(self) -> None:
        check_stream_options(self.body)

    @property
    def model(self) -> str:
        """What `model` says."""
        return self.body.model

    async def plan(self, target: Target, context: RequestContext) -> GeneratePlan[ChatCompletionAnswer]:
        """The conversation behind every prefix of the target. Raises `InvalidRequest` and `ChatRefused`."""
        body, limits = self.body, self.inference.limits
        check_votable(body, target)
        defaults = target.manifest.defaults
        prompt = await encode_chat(self.inference.tokenizer, target, body.messages, limits)
        max_tokens = _max_tokens(body, defaults)
        if max_tokens == NO_LIMIT:
            max_tokens = room(self.inference.engine, target, len(prompt))
        is_asked = bool({body.max_tokens, body.max_completion_tokens} - {None, NO_LIMIT})
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
        requests = generate_requests(form, target, context, sampling)
        continued = is_continued(target.manifest.template, PromptForm.CHAT)
        return GeneratePlan(requests, ChatCompletionAnswer(form), continued, stop)


def _max_tokens(body: ChatRequest, defaults: Mapping[str, Any]) -> int:
    """The request's limit, else the version's, else `NO_LIMIT`."""
    given = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(given) > 1:
        raise InvalidRequest("max_tokens and max_completion_tokens differ", param="max_completion_tokens")
    return given.pop() if given else defaults.get("max_tokens", NO_LIMIT)


def _num_logprobs(body: ChatRequest, limits: ApiLimits) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
    if not body.logprobs:
        return None
    return check_num_logprobs(body.top_logprobs or 0, limits, "top_logprobs")
