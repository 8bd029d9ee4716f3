"""`POST /v1/completions`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.api.wire.bodies import ResponseBody
from server.api.wire.sampling import GenerationParameters, TokenIds, Usage

_Many = Field(fail_fast=True, max_length=2**16)  # a server allows fewer (`--max-prompts`)
Prompt = str | Annotated[list[str], _Many] | TokenIds | Annotated[list[TokenIds], _Many]


class CompletionRequest(GenerationParameters):
    """One or more prompts to continue."""

    prompt: Prompt
    """A text, a list of texts, a list of token ids, or a list of such lists. The task's template is applied to texts
    only."""
    echo: bool | None = None
    """Begin each answer with its prompt, template included. Default false."""
    logprobs: int | None = Field(default=None, ge=0)
    """Number of most likely tokens to return at each position. If set, each token's log-probability is returned too."""


class CompletionLogprobs(ResponseBody):
    """Four parallel lists, one entry per token. The prompt's first token has no log-probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Start of the token's text within `text`, in characters."""


class CompletionChoice(ResponseBody):
    """One answer, or one part of an answer in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Completion(ResponseBody):
    """The answers to all prompts, in the order of the prompts."""

    id: str
    object: Literal["text_completion"]
    created: int
    """Unix time in seconds."""
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class CompletionChunk(ResponseBody):
    """One event of a stream; the stream ends with `[DONE]` in place of a chunk."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
