"""An engine that generates by a script: the API's tests need no model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from server.engine.client import EngineStats, RequestRunner
from server.engine.errors import ContextExceeded, EngineError, PrefixTooLarge, PromptEmpty
from server.engine.event_stream import EventStream
from server.engine.events import (
    TERMINAL,
    ChoiceFinished,
    EngineEvent,
    EngineObserver,
    FinishReason,
    PromptProcessed,
    RequestFailed,
    RequestFinished,
    Scored,
    TokenEvent,
    TokenLogprob,
)
from server.engine.request import Generate, Kind, Request, Score
from server.engine.unobserved import UnobservedRunner
from server.engine.usage import EngineUsage

Script = Callable[[Request[Generate], int], Sequence[int]]
Score = Callable[[Request[Score], tuple[int, ...]], float]


@dataclass
class ScriptedEngine:
    """Implements `EngineClient`; a test sets the fields that it needs otherwise.

    `script` gives the tokens of a choice, `score` the log-probability of a continuation. `stream` and `check` raise
    `refuse`. A request fails with `cause` after `fail_after` tokens. While `gate` is cleared, no token comes.
    """

    script: Script
    eos_token_ids: frozenset[int]
    score: Score = lambda request, continuation: -float(len(continuation))
    max_context: int = 256
    max_prefix_tokens: int = 1024
    refuse: EngineError | None = None
    fail_after: int | None = None
    cause: BaseException = field(default_factory=lambda: RuntimeError("a secret of the engine"))
    is_alive: bool = True
    is_wedged: bool = False
    num_cached_tokens: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[Request[Kind]] = field(default_factory=list)
    aborted: list[tuple[str, int | None]] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    observers: Sequence[EngineObserver] = ()
    holders: EngineUsage = field(default_factory=lambda: EngineUsage((), (), 0, 0, 0))
    streams: WeakValueDictionary = field(default_factory=WeakValueDictionary)

    def __post_init__(self):
        self.gate.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    @property
    def stats(self) -> EngineStats:
        return EngineStats(0, len(self.unfinished), 0, 0, 0, 0, 0, 0, 0)

    @property
    def usage(self) -> EngineUsage:
        return self.holders

    def check(self, requests: Sequence[Request[Kind]]) -> None:
        if self.refuse is not None:
            raise self.refuse
        for request in requests:
            self.check_servable(request)
        num_virtual = sum(request.prefix.num_virtual_tokens for request in requests if request.prefix is not None)
        if num_virtual > self.max_prefix_tokens:
            raise PrefixTooLarge(f"the soft prompts have {num_virtual} virtual tokens together")

    def abort(self, request_id: str, choice: int | None = None) -> None:
        if choice is None and (stream := self.streams.get(request_id)) is not None:
            stream.is_aborted = True
        self.aborted.append((request_id, choice))

    def stream(self, request: Request[Kind]) -> AsyncIterator[EngineEvent]:
        return self.stream_to(request, self.observers)

    @property
    def unobserved(self) -> RequestRunner:
        return UnobservedRunner(self)

    def stream_to(self, request: Request[Kind], observers: Sequence[EngineObserver]) -> EventStream:
        self.check((request,))
        self.requests.append(request)
        self.unfinished.add(request.request_id)
        events = self._generate(request) if isinstance(request.kind, Generate) else self._score(request)
        watching = [observer.begin(request) for observer in observers]

        async def next_event() -> EngineEvent:
            event = await anext(events)
            if isinstance(event, TERMINAL):
                await events.aclose()
            return event

        stream = EventStream(next_event, lambda: None, watching)
        self.streams[request.request_id] = stream
        return stream

    def check_servable(self, request: Request[Kind]) -> None:
        if not request.prompt_token_ids:
            raise PromptEmpty("the prompt is empty")
        virtual = request.prefix.num_virtual_tokens if request.prefix else 0
        total = virtual + len(request.prompt_token_ids) + request.kind.max_new_tokens
        if total > self.max_context:
            raise ContextExceeded(f"{total} positions are needed, and the context has {self.max_context}")
        if virtual > self.max_prefix_tokens:
            raise PrefixTooLarge(f"the soft prompt has {virtual} virtual tokens")

    async def _score(self, request: Request[Score]) -> AsyncIterator[EngineEvent]:
        try:
            await self._turn(request)
            if self.fail_after is not None:
                yield RequestFailed(self.cause)
                return
            scores = tuple(self.score(request, continuation) for continuation in request.kind.continuations)
            yield Scored(scores, self.num_cached_tokens)
        finally:
            self.unfinished.discard(request.request_id)

    async def _generate(self, request: Request[Generate]) -> AsyncIterator[EngineEvent]:
        try:
            yield PromptProcessed(self.num_cached_tokens, self._prompt_logprobs(request))
            for event in self._events(request):
                await self._turn(request)
                if (request.request_id, None) in self.aborted:
                    for choice in range(request.kind.num_choices):
                        yield ChoiceFinished(choice, FinishReason.ABORTED)
                    break
                if isinstance(event, RequestFailed):
                    yield event
                    return
                if (request.request_id, event.choice) not in self.aborted:
                    yield event
            yield RequestFinished()
        finally:
            self.unfinished.discard(request.request_id)

    async def _turn(self, request: Request[Kind]) -> None:
        """Wait for the gate, or for the end of the request."""
        await asyncio.sleep(0)
        while not self.gate.is_set() and (request.request_id, None) not in self.aborted:
            await asyncio.sleep(0.001)

    def _events(self, request: Request[Generate]):
        """Choices take turns, as in a batch."""
        if request.kind.sampling.max_tokens == 0:
            for choice in range(request.kind.num_choices):
                yield ChoiceFinished(choice, FinishReason.LENGTH)
            return
        scripts = [list(self._until_end(request, choice)) for choice in range(request.kind.num_choices)]
        for position in range(max(map(len, scripts))):
            if position == self.fail_after:
                yield RequestFailed(self.cause)
                return
            for script in scripts:
                if position < len(script):
                    yield script[position]

    def _until_end(self, request: Request[Generate], choice: int):
        sampling = request.kind.sampling
        ends = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else self.eos_token_ids)
        tokens = list(self.script(request, choice))
        for number, token_id in enumerate(tokens, start=1):
            reason = None
            if token_id in ends and number > sampling.min_tokens:
                reason = FinishReason.STOP
            elif number == sampling.max_tokens or number == len(tokens):
                reason = FinishReason.LENGTH
            yield TokenEvent(choice, token_id, self._logprob(token_id, sampling.num_logprobs), reason)
            if reason is not None:
                return

    def _prompt_logprobs(self, request: Request[Generate]) -> tuple[TokenLogprob | None, ...]:
        wanted = request.kind.sampling.prompt_logprobs
        if wanted is None:
            return ()
        return (None, *(self._logprob(token_id, wanted) for token_id in request.prompt_token_ids[1:]))

    @staticmethod
    def _logprob(token_id: int, num_top: int | None) -> TokenLogprob | None:
        if num_top is None:
            return None
        top = tuple((token_id + rank, -0.5 - rank) for rank in range(num_top))
        return TokenLogprob(token_id, -0.5, top)
