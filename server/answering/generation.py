"""The text of generate requests that run together, as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from server.answering.choice_text import ChoiceText, TextDelta, TextToken, text_token
from server.answering.engine_failure import failure_of
from server.engine.client import RequestRunner
from server.engine.errors import EngineError, EngineStopped
from server.engine.event_stream import DeliveredStream
from server.engine.events import (
    TERMINAL,
    ChoiceFinished,
    EngineEvent,
    FinishReason,
    PromptProcessed,
    RequestFailed,
    TokenEvent,
)
from server.engine.request import Generate, Request
from server.tokenizer.detokenizer import Detokenizer
from server.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt was processed. `text` and `tokens` are the prompt's if it is echoed, else empty."""

    prompt: int
    num_cached_tokens: int
    text: str = ""
    tokens: tuple[TextToken, ...] = ()


@dataclass(frozen=True, slots=True)
class Outvoted:
    """A member's answer that an ensemble did not choose. It took `num_tokens` tokens."""

    num_tokens: int


TextEvent = PromptText | TextDelta | Outvoted


class Generation:
    """Runs generate requests that have the same number of choices; choices are numbered across all requests.

    `is_continued` says whether each text continues its prompt or is a text of its own (`template.is_continued`).
    `start` gives the requests to the engine. Iterating yields their text as it comes. `close` must follow `start` in
    any case: it ends the requests that still run.
    """

    def __init__(
        self,
        engine: RequestRunner,
        tokenizer: Tokenizer,
        requests: Sequence[Request[Generate]],
        *,
        is_continued: bool,
        stop: Sequence[str] = (),
        echo: bool = False,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._requests = tuple(requests)
        self._is_continued = is_continued
        self._stop = tuple(stop)
        self._echo = echo
        self._events: asyncio.Queue[TextEvent | Exception | None] = asyncio.Queue()
        self._texts: list[_RequestText] = []
        self._readers: list[asyncio.Task[None] | DeliveredStream] = []  # kept: a dropped stream aborts its request

    @property
    def num_output_tokens(self) -> int:
        """Tokens generated so far, over all prompts and choices."""
        return sum(text.num_tokens for text in self._texts)

    def start(self) -> None:
        """Hand every request to the engine, or none. Raises `RequestRefused`, `EngineOverloaded` or `EngineStopped`."""
        try:
            for prompt, request in enumerate(self._requests):
                stream = self._engine.stream(request)
                text = self._text_of(prompt, request)
                self._texts.append(text)
                if isinstance(stream, DeliveredStream) and not self._echo:
                    stream.hand_to(text.take)  # one wake-up of the reader per token, and no task in between
                    self._readers.append(stream)
                else:
                    self._readers.append(asyncio.create_task(self._pump(prompt, text, stream)))
        except EngineError:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[TextEvent]:
        """Every text event until all have finished. Raises `EngineError` when one of the requests fails."""
        num_running, events = len(self._texts), self._events
        while num_running:
            event = await events.get()
            if isinstance(event, Exception):
                raise event
            if event is None:
                num_running -= 1
            else:
                yield event

    def close(self) -> None:
        """End the requests that still run. Their events are read up to the engine's last one."""
        for request, text in zip(self._requests, self._texts, strict=False):
            if not text.is_over:
                self._engine.abort(request.request_id)

    async def _pump(self, prompt: int, text: _RequestText, stream: AsyncIterator[EngineEvent]) -> None:
        """Read a stream that does not hand on its events, or whose prompt is decoded in a thread."""
        try:
            async for event in stream:
                if self._echo and isinstance(event, PromptProcessed):
                    self._events.put_nowait(await self._tokenizer.run(self._echoed, prompt, event))
                else:
                    text.take(event)
        except Exception as error:
            text.fail(error)

    def _text_of(self, prompt: int, request: Request[Generate]) -> _RequestText:
        context = request.prompt_token_ids if self._is_continued else ()
        first, min_tokens = prompt * request.kind.num_choices, request.kind.sampling.min_tokens
        choices = [
            ChoiceText(first + number, self._tokenizer, context, self._stop, min_tokens)
            for number in range(request.kind.num_choices)
        ]
        return _RequestText(prompt, choices, partial(self._engine.abort, request.request_id), self._events.put_nowait)

    def _echoed(self, prompt: int, event: PromptProcessed) -> PromptText:
        """The prompt decoded from its tokens; runs in a thread, since prompts are long."""
        token_ids = self._requests[prompt].prompt_token_ids
        detokenizer = Detokenizer(self._tokenizer)
        text, tokens = "", []
        for token_id, logprob in zip_longest(token_ids, event.prompt_logprobs):
            if event.prompt_logprobs:
                tokens.append(text_token(detokenizer, token_id, len(text), logprob))
            text += detokenizer.feed(token_id)
        return PromptText(prompt, event.num_cached_tokens, text + detokenizer.flush(), tuple(tokens))


class _RequestText:
    """Turns the events of one request into text events, an error, or None at its end, and gives them to `put`.

    `abort` ends one of its choices in the engine.
    """

    def __init__(
        self,
        prompt: int,
        choices: Sequence[ChoiceText],
        abort: Callable[[int], None],
        put: Callable[[TextEvent | Exception | None], None],
    ) -> None:
        self._prompt = prompt
        self._choices = choices
        self._abort = abort
        self._put = put
        self._failure: EngineError | None = None
        self.num_tokens = 0
        self.is_over = False

    def take(self, event: EngineEvent) -> None:
        """Take the next event. Never raises: the reader gets the error."""
        try:
            if isinstance(event, TokenEvent):
                self._take_token(event)
            else:
                self._take_other(event)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Give the error to the reader, which ends its reading."""
        self._put(error)

    def _take_token(self, event: TokenEvent) -> None:
        self.num_tokens += 1
        choice = self._choices[event.choice]
        if not choice.is_finished:
            self._put(choice.feed(event))
            if choice.met_stop_string and event.finish_reason is None:
                self._abort(event.choice)

    def _take_other(self, event: EngineEvent) -> None:
        match event:
            case PromptProcessed():
                self._put(PromptText(self._prompt, event.num_cached_tokens))
            case ChoiceFinished() if not (choice := self._choices[event.choice]).is_finished:
                if event.finish_reason is FinishReason.ABORTED:
                    self._failure = EngineStopped("the engine ended a request on its own")
                else:
                    self._put(choice.finish(event.finish_reason))
            case RequestFailed():
                self._failure = failure_of(event)
        if isinstance(event, TERMINAL):
            self.is_over = True
            self._put(self._failure)
