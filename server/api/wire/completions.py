"""`POST /v1/completions`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.api.wire.bodies import ResponseBody
from server.api.wire.sampling import GenerationParameters, TokenIds, Usage

_Many = Field(fail_fast=True, max_length=2**16)  # what a server takes at once is less (`--max-prompts`)
Prompt = str | Annotated[list[str], _Many] | TokenIds | Annotated[list[TokenIds], _Many]


class CompletionRequest(GenerationParameters):
    """Continue one or more prompts."""

    prompt: Prompt
    """A text, several texts, token ids, or several lists of token ids. A task's template applies to texts only."""
    echo: bool | None = None
    """Begin each answer with its prompt, as the model saw it. Default false."""
    logprobs: int | None = Field(default=None, ge=0)
    """Return the log-probability of each token and of so many of the most likely ones."""


class CompletionLogprobs(ResponseBody):
    """Four parallel lists, one entry a token. The prompt's first token has no log-probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Where the token's text begins within `text`, in characters."""


class CompletionChoice(ResponseBody):
    """One answer, or a piece of one."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Completion(ResponseBody):
    """The answers to all prompts: those to the first prompt first."""

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
