"""A completion: one or more prompts, continued."""

from __future__ import annotations

from dataclasses import dataclass

from server.api.errors import InvalidRequest
from server.api.inference.answer_form import AnswerForm
from server.api.inference.completion_answer import CompletionAnswer
from server.api.inference.inference import Inference
from server.api.inference.plan import GeneratePlan, generate_requests
from server.api.inference.prompts import encode_prompts, form_of
from server.api.inference.request_context import RequestContext
from server.api.inference.sampling import (
    NO_LIMIT,
    check_num_logprobs,
    check_votable,
    num_choices,
    sampling_params,
    stop_strings,
    votable_tokens,
)
from server.api.inference.served_model import ServedModel
from server.api.inference.structured import compiled_constraint
from server.api.wire.completions import CompletionRequest

_DEFAULT_MAX_TOKENS = 16


@dataclass(frozen=True, slots=True, eq=False)
class CompletionCall:
    """A body of `POST /v1/completions`."""

    body: CompletionRequest
    inference: Inference

    @property
    def model(self) -> str:
        """The body's `model`."""
        return self.body.model

    async def plan(self, served: ServedModel, context: RequestContext) -> GeneratePlan[CompletionAnswer]:
        """The prompts behind every prefix of the served model.

        Raises `InvalidRequest`, `UnknownToken` for ids, and as `compiled_constraint` does.
        """
        body, limits, tokenizer = self.body, self.inference.limits, self.inference.tokenizer
        self.inference.base_facts.check_generates(served)
        check_votable(body, served)
        if body.echo and self.inference.base_facts.has_encoder:
            message = "echo is not supported: the base model reads prompts with an encoder, and does not continue them"
            raise InvalidRequest(message, param="echo")
        defaults = served.manifest.defaults
        prompts = await encode_prompts(tokenizer, served, body.prompt, limits)
        num_logprobs = check_num_logprobs(body.logprobs, limits, "logprobs")
        max_tokens = body.max_tokens if body.max_tokens is not None else defaults.get("max_tokens", _DEFAULT_MAX_TOKENS)
        if max_tokens == NO_LIMIT:
            max_tokens = self.inference.room(served, max(map(len, prompts)))
        sampling = sampling_params(
            body,
            defaults,
            limits,
            max_tokens=votable_tokens(max_tokens, served, limits, is_asked=body.max_tokens not in (None, NO_LIMIT)),
            num_logprobs=num_logprobs,
            prompt_logprobs=num_logprobs if body.echo else None,
        )
        form = AnswerForm.of(
            body,
            served,
            prompts,
            id_prefix="cmpl",
            num_choices=num_choices(body, limits, len(prompts) * len(served.prefixes)),
            with_logprobs=num_logprobs is not None,
        )
        stop = stop_strings(body, served.manifest.stop, limits)
        continued = self.inference.base_facts.is_continued(form_of(body.prompt), served)
        constraint = await compiled_constraint(body, served, self.inference.constraints, is_continued=continued)
        requests = generate_requests(form, served, context, sampling, constraint)
        return GeneratePlan(requests, CompletionAnswer(form, tokenizer), continued, stop, bool(body.echo))
