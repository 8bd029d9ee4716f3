"""Generation parameters: what completions and chat share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody

_MAX_INT32 = 2**31 - 1
_MAX_INT64 = 2**63 - 1
_MAX_TOKEN_IDS = 2**20  # more than any context holds

TokenId = Annotated[int, Field(ge=0, le=_MAX_INT32)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True, max_length=_MAX_TOKEN_IDS)]
_Texts = Annotated[list[str], Field(fail_fast=True)]


class StreamOptions(RequestBody):
    """Options of a stream."""

    include_usage: bool | None = None
    """Send a last chunk with the usage of the whole request."""


class GenerationParameters(RequestBody):
    """How tokens are chosen, and when to stop.

    What is left out, or null, is taken from the defaults of the task's version, and failing that from those named here.
    """

    model: ModelName
    """A task reference (`task`, `task@3`, `task@alias`) or the base model's id."""
    max_tokens: int | None = Field(default=None, ge=0, le=_MAX_INT32)
    """Most tokens to generate. Default: 16 for completions; for chat, what the context has room for."""
    min_tokens: int | None = Field(default=None, ge=0, le=_MAX_INT32)
    """No end or stop token ends the answer within so many tokens, nor a stop string that begins there. Default 0."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 always takes the most likely token. Default 1."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Choose among the most likely tokens that together have this probability. Default 1 (off)."""
    top_k: int | None = Field(default=None, ge=0, le=_MAX_INT32)
    """Choose among so many of the most likely tokens. Default 0 (off)."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Choose among tokens at least this likely relative to the likeliest. Default 0 (off)."""
    n: int | None = Field(default=None, ge=1, le=_MAX_INT32)
    """Number of answers to each prompt. Default 1."""
    seed: int | None = Field(default=None, ge=-_MAX_INT64 - 1, le=_MAX_INT64)
    """The same seed gives the same answer, whatever else is in the batch. Default: a new one each time."""
    stop: str | _Texts | None = None
    """A text, or several, before which the answer ends. Those of the task's version count as well."""
    stop_token_ids: TokenIds | None = None
    """Tokens that end the answer and are not part of its text."""
    ignore_eos: bool | None = None
    """Generate on beyond the end token. Default false."""
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    """Token ids (as decimal texts) and what is added to their logits."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Subtracted from the logit of every token that the answer already has. Default 0."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Subtracted from a token's logit each time that the answer has it. Default 0."""
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    """Divides (or multiplies, when negative) the logits of tokens in prompt or answer. Default 1 (off)."""
    stream: bool | None = None
    """Send the answer in server-sent events as it is generated; not of an ensemble. Default false."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    return_token_ids: bool | None = None
    """Also return the token ids of prompt and answer. Default false."""
    priority: int | None = Field(default=None, ge=-100, le=100)
    """Lower numbers are taken up earlier, as far as the key allows; what runs is not interrupted. Default 0."""
    user: str | None = None
    """Accepted and ignored."""
    metadata: dict[str, Any] | None = None
    """Accepted and ignored."""
    store: bool | None = None
    """Accepted and ignored."""


class PromptTokensDetails(ResponseBody):
    """What the prompt's tokens cost."""

    cached_tokens: int
    """Of `prompt_tokens`, those whose keys and values were cached."""
    virtual_tokens: int
    """Virtual tokens of the soft prompt, which `prompt_tokens` does not count."""


class Usage(ResponseBody):
    """Tokens of text, in and out. An ensemble counts what all its members read and wrote."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
