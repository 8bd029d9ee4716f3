"""One request from its body to its response: resolve, plan, check, charge, run, answer, compare with the shadow."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from starlette.responses import Response

from server.answering.generation import Generation
from server.answering.single_results import SingleResults
from server.answering.votes import voted
from server.api.access.caller import Caller
from server.api.access.overload import OpenRequest, OverloadGuard
from server.api.access.quotas import Quotas
from server.api.inference.base_facts import BaseFacts
from server.api.inference.disconnect import unless_disconnected
from server.api.inference.plan import (
    Answer,
    AnswerEvent,
    BodyT,
    Call,
    EncodePlan,
    GeneratePlan,
    Plan,
    ScorePlan,
    StreamedAnswer,
    as_batch,
)
from server.api.inference.request_context import RequestContext, deadline_scope, stop_at
from server.api.inference.served_model import ServedModel, resolve_model
from server.api.inference.shadows import ShadowRuns
from server.api.limits import ApiLimits
from server.api.responses.event_stream import EventStreamResponse
from server.api.responses.json_response import json_response
from server.engine.client import EngineClient
from server.engine.events import Encoded, Scored
from server.soft_prompts.catalog import TaskCatalog
from server.structured_outputs.compiler import ConstraintCompiler
from server.tokenizer.tokenizer import Tokenizer

_AnswerT = TypeVar("_AnswerT")
Run = Generation | SingleResults[Scored] | SingleResults[Encoded]


@dataclass(frozen=True, slots=True, eq=False)
class _Running(Generic[_AnswerT]):
    """An accepted request. `close` ends it: after the response, at the deadline, or when the client disconnects."""

    served: ServedModel
    plan: Plan[_AnswerT]
    events: AsyncIterable[AnswerEvent]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """Answers of tasks and of the base model. Belongs to the event loop.

    `chat_defaults` are the base model's own sampling parameters, for chats. `base_facts` are what it says of heads.
    `constraints` compiles the forms of answers.
    `is_batch`: its calls are lines of batches, which yield to all others and which no observer of the engine sees.
    """

    engine: EngineClient
    tokenizer: Tokenizer
    catalog: TaskCatalog
    base_names: frozenset[str]
    eos_token_ids: frozenset[int]
    limits: ApiLimits
    quotas: Quotas
    overload: OverloadGuard
    shadows: ShadowRuns
    constraints: ConstraintCompiler
    chat_defaults: Mapping[str, Any] = field(default_factory=dict)
    base_facts: BaseFacts = field(default_factory=BaseFacts)
    is_batch: bool = False

    def room(self, served: ServedModel, num_prompt_tokens: int) -> int:
        """Number of tokens that the context has room for behind a prompt; 1 where it has none: the engine refuses."""
        max_context = self.engine.max_context
        if self.base_facts.has_encoder:  # the decoder's context: keys and values of a soft prompt, then the first token
            return max(max_context - served.num_key_value_tokens - 1, 1)
        return max(max_context - served.num_virtual_tokens - num_prompt_tokens, 1)

    async def resolve(self, caller: Caller, model: str | None, sticky_key: bytes | None = None) -> ServedModel:
        """The model that `model` names now; None is the base model. Raises as `resolve_model` does."""
        return await resolve_model(self.catalog, self.base_names, caller, model, sticky_key)

    async def answer(self, request: Request, call: Call[Answer[BodyT]], context: RequestContext) -> Response:
        """The whole response to a call."""
        running = await self._begin(call, context)
        answer = running.plan.answer
        try:
            body = await unless_disconnected(request, answer.body(running.events))
        finally:
            running.close()
        if running.plan.is_repeatable:
            self.shadows.offer(
                running.served, answer.texts(body), lambda shadow: self._texts(call, shadow, context.for_shadow())
            )
        return json_response(body, headers=running.served.headers)

    async def body(self, call: Call[Answer[BodyT]], context: RequestContext) -> BodyT:
        """The body of the answer to a call that no connection waits for. It is compared with no shadow."""
        running = await self._begin(call, context)
        try:
            return await running.plan.answer.body(running.events)
        finally:
            running.close()

    async def stream(self, call: Call[StreamedAnswer[BodyT]], context: RequestContext) -> Response:
        """The response to a call as server-sent events. Ensembles cannot stream, because they vote on whole texts."""
        running = await self._begin(call, context)
        chunks = running.plan.answer.chunks(running.events)
        return EventStreamResponse(chunks, headers=running.served.headers, close=running.close)

    async def _begin(self, call: Call[_AnswerT], context: RequestContext) -> _Running[_AnswerT]:
        served = await self.resolve(context.caller, call.model, context.sticky_key)
        plan = await call.plan(served, context)
        if self.is_batch:
            plan = as_batch(plan)
        self.engine.check(plan.requests)
        if context.payer is not None:
            async with deadline_scope(context.deadline):
                await self.quotas.take_tokens(context.payer, _num_prompt_tokens(plan))
        run = self._start(plan)
        open_request = self.overload.begin()

        def close() -> None:
            run.close()
            open_request.given_up()
            if context.payer is not None:
                self.quotas.charge_tokens(context.payer, run.num_output_tokens)

        events = stop_at(context.deadline, _elected(run, served))
        return _Running(served, plan, _noting_the_end(events, open_request), close)

    def _start(self, plan: Plan[_AnswerT]) -> Run:
        """Hand the plan's requests to the engine. Raises `RequestRefused`, `EngineOverloaded` or `EngineStopped`."""
        engine = self.engine.unobserved if self.is_batch else self.engine
        match plan:
            case GeneratePlan():
                generation = Generation(
                    engine,
                    self.tokenizer,
                    plan.requests,
                    is_continued=plan.is_continued,
                    stop=plan.stop,
                    echo=plan.echo,
                )
                generation.start()
                return generation
            case ScorePlan():
                return SingleResults(engine, plan.requests, Scored)
            case EncodePlan():
                return SingleResults(engine, plan.requests, Encoded)

    async def _texts(self, call: Call[Answer[BodyT]], shadow: ServedModel, context: RequestContext) -> tuple[str, ...]:
        """The shadow's answer to the same call."""
        plan = await call.plan(shadow, context)
        self.engine.check(plan.requests)
        run = self._start(plan)
        try:
            return plan.answer.texts(await plan.answer.body(_elected(run, shadow)))
        finally:
            run.close()


def _num_prompt_tokens(plan: Plan[_AnswerT]) -> int:
    return sum(len(request.prompt_token_ids) for request in plan.requests)


async def _noting_the_end(events: AsyncIterable[AnswerEvent], request: OpenRequest) -> AsyncIterator[AnswerEvent]:
    """Pass on the events, then count the request as answered."""
    async for event in events:
        yield event
    request.answered()


def _elected(run: Run, served: ServedModel) -> AsyncIterable[AnswerEvent]:
    """The run's events. For texts of an ensemble, the winners of the vote; scores are combined in their answer."""
    return voted(run, len(served.prefixes)) if isinstance(run, Generation) and served.is_ensemble else run


async def _inference_of(request: Request) -> Inference:
    inference = request.app.state.inference
    assert isinstance(inference, Inference)
    return inference


InferenceDep = Annotated[Inference, Depends(_inference_of)]
