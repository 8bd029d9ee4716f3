"""The text of generate requests that run together, as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from server.answering.choice_text import ChoiceText, TextDelta, TextToken, text_token
from server.answering.engine_failure import failure_of
from server.engine.client import RequestRunner
from server.engine.errors import EngineError, EngineStopped
from server.engine.events import ChoiceFinished, EngineEvent, FinishReason, PromptProcessed, RequestFailed, TokenEvent
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
        self._queue: asyncio.Queue[TextEvent | Exception | None] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []
        self._num_output_tokens = 0

    @property
    def num_output_tokens(self) -> int:
        """Tokens generated so far, over all prompts and choices."""
        return self._num_output_tokens

    def start(self) -> None:
        """Hand every request to the engine, or none. Raises `RequestRefused`, `EngineOverloaded` or `EngineStopped`."""
        try:
            for prompt, request in enumerate(self._requests):
                events = self._engine.stream(request)
                self._pumps.append(asyncio.create_task(self._pump(prompt, events)))
        except EngineError:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[TextEvent]:
        """Every text event until all have finished. Raises `EngineError` when one of the requests fails."""
        num_running = len(self._pumps)
        while num_running:
            event = await self._queue.get()
            if isinstance(event, Exception):
                raise event
            if event is None:
                num_running -= 1
            else:
                yield event

    def close(self) -> None:
        """End the requests that still run. Their pumps are not cancelled: they read until the engine's last event."""
        for request, pump in zip(self._requests, self._pumps, strict=False):
            if not pump.done():
                self._engine.abort(request.request_id)

    async def _pump(self, prompt: int, stream: AsyncIterator[EngineEvent]) -> None:
        try:
            async for event in self._text_events(prompt, stream):
                self._queue.put_nowait(event)
        except Exception as error:  # raised again where the queue is read
            self._queue.put_nowait(error)
        else:
            self._queue.put_nowait(None)

    async def _text_events(self, prompt: int, stream: AsyncIterator[EngineEvent]) -> AsyncIterator[TextEvent]:
        request = self._requests[prompt]
        choices = [self._choice_text(prompt, number) for number in range(request.kind.num_choices)]
        failure: EngineError | None = None
        async for event in stream:
            self._num_output_tokens += isinstance(event, TokenEvent)
            match event:
                case PromptProcessed() if self._echo:
                    yield await self._tokenizer.run(self._echoed, prompt, event)
                case PromptProcessed():
                    yield PromptText(prompt, event.num_cached_tokens)
                case TokenEvent() if not (choice := choices[event.choice]).is_finished:
                    yield choice.feed(event)
                    if choice.met_stop_string and event.finish_reason is None:
                        self._engine.abort(request.request_id, event.choice)
                case ChoiceFinished() if not (choice := choices[event.choice]).is_finished:
                    if event.finish_reason is FinishReason.ABORTED:
                        failure = EngineStopped("the engine ended a request on its own")
                    else:
                        yield choice.finish(event.finish_reason)
                case RequestFailed():
                    failure = failure_of(event)
        if failure is not None:
            raise failure

    def _choice_text(self, prompt: int, number: int) -> ChoiceText:
        request = self._requests[prompt]
        return ChoiceText(
            prompt * request.kind.num_choices + number,
            self._tokenizer,
            request.prompt_token_ids if self._is_continued else (),
            self._stop,
            request.kind.sampling.min_tokens,
        )

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
