"""Text events become the chunks of a completion, and chunks joined become its body."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from functools import partial

from server.answering.choice_text import TextDelta, TextToken
from server.answering.generation import PromptText
from server.api.inference.answer_form import FINISH_REASONS, AnswerForm
from server.api.inference.chunk_text import ChunkText
from server.api.inference.logprobs import completion_logprobs
from server.api.inference.plan import AnswerEvent
from server.api.responses.json_response import json_text
from server.api.wire.completions import Completion, CompletionChoice, CompletionChunk, CompletionLogprobs
from server.tokenizer.tokenizer import Tokenizer


class CompletionAnswer:
    """Writes one completion."""

    def __init__(self, form: AnswerForm, tokenizer: Tokenizer) -> None:
        self._form = form
        self._tokenizer = tokenizer
        self._usage = form.usage_counter()
        self._prompt_lengths: dict[int, int] = {}

    async def body(self, events: AsyncIterable[AnswerEvent]) -> Completion:
        """The whole answer."""
        pieces: defaultdict[int, list[CompletionChoice]] = defaultdict(list)
        async for event in events:
            for piece in await self._pieces(event):
                pieces[piece.index].append(piece)
        return Completion(
            id=self._form.id,
            object="text_completion",
            created=self._form.created,
            model=self._form.model,
            choices=[_join(pieces[index]) for index in sorted(pieces)],
            usage=self._usage.usage(),
        )

    def texts(self, body: Completion) -> tuple[str, ...]:
        """The text of each choice."""
        return tuple(choice.text for choice in body.choices)

    async def chunks(self, events: AsyncIterable[AnswerEvent]) -> AsyncIterator[str]:
        """The answer as chunks (`CompletionChunk`), in the order of the events."""
        text = ChunkText(self._chunk([]))
        async for event in events:
            for piece in await self._pieces(event):
                if _says_something(piece):
                    yield json_text(self._chunk([piece])) if self._form.with_usage_so_far else text.of([piece])
        if self._form.with_usage:
            chunk = self._chunk([])
            chunk.usage = self._usage.usage()
            yield json_text(chunk)

    async def _pieces(self, event: AnswerEvent) -> list[CompletionChoice]:
        self._usage.add(event)
        if isinstance(event, TextDelta):
            return [self._piece_of_text(event)]
        return await self._pieces_of_prompt(event) if isinstance(event, PromptText) else []

    async def _pieces_of_prompt(self, event: PromptText) -> list[CompletionChoice]:
        """One piece per choice. Their log-probabilities are written once, in a thread, because prompts are long."""
        self._prompt_lengths[event.prompt] = len(event.text)
        write = partial(self._logprobs, event.tokens, 0)
        logprobs = await self._tokenizer.run(write) if event.tokens else write()
        first = event.prompt * self._form.num_choices
        return [self._piece_of_prompt(index, event, logprobs) for index in range(first, first + self._form.num_choices)]

    def _piece_of_prompt(self, index: int, event: PromptText, logprobs: CompletionLogprobs | None) -> CompletionChoice:
        piece = CompletionChoice(index=index, text=event.text, logprobs=logprobs, finish_reason=None)
        if self._form.with_token_ids:
            piece.prompt_token_ids = list(self._form.prompts[event.prompt])
        return piece

    def _piece_of_text(self, delta: TextDelta) -> CompletionChoice:
        piece = CompletionChoice(
            index=delta.choice,
            text=delta.text,
            logprobs=self._logprobs(delta.tokens, self._prompt_lengths[delta.choice // self._form.num_choices]),
            finish_reason=FINISH_REASONS[delta.finish_reason],
        )
        if self._form.with_token_ids:
            piece.token_ids = list(delta.token_ids)
        return piece

    def _logprobs(self, tokens: Sequence[TextToken], offset: int) -> CompletionLogprobs | None:
        return completion_logprobs(tokens, offset) if self._form.with_logprobs else None

    def _chunk(self, choices: list[CompletionChoice]) -> CompletionChunk:
        chunk = CompletionChunk(
            id=self._form.id,
            object="text_completion",
            created=self._form.created,
            model=self._form.model,
            choices=choices,
        )
        if self._form.with_usage:
            chunk.usage = self._usage.usage() if self._form.with_usage_so_far else None
        return chunk


def _says_something(piece: CompletionChoice) -> bool:
    has_logprobs = piece.logprobs is not None and bool(piece.logprobs.tokens)
    return bool(piece.text or has_logprobs or piece.finish_reason or piece.token_ids or piece.prompt_token_ids)


def _join(pieces: Sequence[CompletionChoice]) -> CompletionChoice:
    whole = CompletionChoice(
        index=pieces[0].index,
        text="".join(piece.text for piece in pieces),
        logprobs=_join_logprobs([piece.logprobs for piece in pieces if piece.logprobs is not None]),
        finish_reason=pieces[-1].finish_reason,
    )
    if pieces[0].prompt_token_ids is not None:
        whole.prompt_token_ids = pieces[0].prompt_token_ids
        whole.token_ids = [token_id for piece in pieces for token_id in piece.token_ids or ()]
    return whole


def _join_logprobs(parts: Sequence[CompletionLogprobs]) -> CompletionLogprobs | None:
    if not parts:
        return None
    return CompletionLogprobs(
        tokens=[token for part in parts for token in part.tokens],
        token_logprobs=[logprob for part in parts for logprob in part.token_logprobs],
        top_logprobs=[top for part in parts for top in part.top_logprobs],
        text_offset=[offset for part in parts for offset in part.text_offset],
    )
