"""Text events become the chunks of a chat completion, and chunks joined become its body."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from server.answering.choice_text import TextDelta
from server.api.inference.answer_form import FINISH_REASONS, AnswerForm
from server.api.inference.chunk_text import ChunkText
from server.api.inference.logprobs import chat_logprobs
from server.api.inference.plan import AnswerEvent
from server.api.responses.json_response import json_text
from server.api.wire.chat import (
    ChatAnswer,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    ChatLogprobs,
)


class ChatCompletionAnswer:
    """Writes one chat completion."""

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._usage = form.usage_counter()

    async def body(self, events: AsyncIterable[AnswerEvent]) -> ChatCompletion:
        """The whole answer."""
        pieces: defaultdict[int, list[ChatChunkChoice]] = defaultdict(list)
        async for event in events:
            self._usage.add(event)
            if isinstance(event, TextDelta):
                pieces[event.choice].append(self._piece(event))
        body = ChatCompletion(
            id=self._form.id,
            object="chat.completion",
            created=self._form.created,
            model=self._form.model,
            choices=[_join(pieces[index]) for index in sorted(pieces)],
            usage=self._usage.usage(),
        )
        if self._form.with_token_ids:
            body.prompt_token_ids = list(self._form.prompts[0])
        return body

    def texts(self, body: ChatCompletion) -> tuple[str, ...]:
        """The text of each choice."""
        return tuple(choice.message.content for choice in body.choices)

    async def chunks(self, events: AsyncIterable[AnswerEvent]) -> AsyncIterator[str]:
        """The answer as chunks (`ChatCompletionChunk`): first the role of each choice, then its text."""
        yield json_text(self._opening())
        text = ChunkText(self._chunk([]))
        async for event in events:
            self._usage.add(event)
            if isinstance(event, TextDelta) and _says_something(piece := self._piece(event)):
                yield json_text(self._chunk([piece])) if self._form.with_usage_so_far else text.of([piece])
        if self._form.with_usage:
            chunk = self._chunk([])
            chunk.usage = self._usage.usage()
            yield json_text(chunk)

    def _opening(self) -> ChatCompletionChunk:
        delta = ChatDelta(role="assistant", content="")
        chunk = self._chunk(
            [
                ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)
                for index in range(self._form.num_choices)
            ]
        )
        if self._form.with_token_ids:
            chunk.prompt_token_ids = list(self._form.prompts[0])
        return chunk

    def _piece(self, event: TextDelta) -> ChatChunkChoice:
        piece = ChatChunkChoice(
            index=event.choice,
            delta=ChatDelta(content=event.text) if event.text else ChatDelta(),
            logprobs=chat_logprobs(event.tokens) if self._form.with_logprobs else None,
            finish_reason=FINISH_REASONS[event.finish_reason],
        )
        if self._form.with_token_ids:
            piece.token_ids = list(event.token_ids)
        return piece

    def _chunk(self, choices: list[ChatChunkChoice]) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(
            id=self._form.id,
            object="chat.completion.chunk",
            created=self._form.created,
            model=self._form.model,
            choices=choices,
        )
        if self._form.with_usage:
            chunk.usage = self._usage.usage() if self._form.with_usage_so_far else None
        return chunk


def _says_something(piece: ChatChunkChoice) -> bool:
    has_logprobs = piece.logprobs is not None and bool(piece.logprobs.content)
    return bool(piece.delta.content or has_logprobs or piece.finish_reason or piece.token_ids)


def _join(pieces: Sequence[ChatChunkChoice]) -> ChatChoice:
    reason = pieces[-1].finish_reason
    assert reason is not None, "every choice ends with its reason"
    whole = ChatChoice(
        index=pieces[0].index,
        message=ChatAnswer(role="assistant", content="".join(piece.delta.content or "" for piece in pieces)),
        logprobs=_join_logprobs([piece.logprobs for piece in pieces if piece.logprobs is not None]),
        finish_reason=reason,
    )
    if pieces[0].token_ids is not None:
        whole.token_ids = [token_id for piece in pieces for token_id in piece.token_ids or ()]
    return whole


def _join_logprobs(parts: Sequence[ChatLogprobs]) -> ChatLogprobs | None:
    return ChatLogprobs(content=[token for part in parts for token in part.content]) if parts else None
