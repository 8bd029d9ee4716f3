"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.api.wire.bodies import RequestBody, ResponseBody
from server.api.wire.sampling import GenerationParameters, Usage


class ChatTextPart(RequestBody):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class ChatMessageBody(RequestBody):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[ChatTextPart], Field(fail_fast=True)]
    """A text, or a list of texts, which are joined."""

    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(GenerationParameters):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessageBody], Field(fail_fast=True, min_length=1)]
    """The conversation. The base model's chat template renders it and must show every message. Without a chat template,
    exactly one user message is allowed."""
    max_completion_tokens: int | None = Field(default=None, ge=0, le=2**31 - 1)
    """Maximum number of generated tokens: the newer name of `max_tokens`."""
    logprobs: bool | None = None
    """Return the log-probability of each generated token. Default false."""
    top_logprobs: int | None = Field(default=None, ge=0)
    """Number of most likely tokens to return at each position, with their log-probabilities. Needs `logprobs`."""


class TopLogprob(ResponseBody):
    """A candidate token at one position."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(TopLogprob):
    """A token of the answer, with the most likely candidates at its position."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(ResponseBody):
    """Log-probabilities, one entry per token."""

    content: list[ChatTokenLogprob]


class ChatAnswer(ResponseBody):
    """The model's message."""

    role: Literal["assistant"]
    content: str


class ChatChoice(ResponseBody):
    """One answer."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]
    token_ids: list[int] | None = None


class ChatCompletion(ResponseBody):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    """Unix time in seconds."""
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: list[int] | None = None


class ChatDelta(ResponseBody):
    """The part of an answer that one chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(ResponseBody):
    """A piece of one answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    token_ids: list[int] | None = None


class ChatCompletionChunk(ResponseBody):
    """One event of a stream; the stream ends with `[DONE]` in place of a chunk."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
