"""Generation parameters of completions and chat."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from server.api.wire.bodies import ModelName, RequestBody, ResponseBody
from server.api.wire.passive_fields import STREAM_OPTION_FIELDS, Fields
from server.api.wire.structured import ResponseFormat, StructuredOutputs

_MAX_INT32 = 2**31 - 1
_MAX_INT64 = 2**63 - 1
_MAX_TOKEN_IDS = 2**20  # longer than any context

TokenId = Annotated[int, Field(ge=0, le=_MAX_INT32)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True, max_length=_MAX_TOKEN_IDS)]
_Texts = Annotated[list[str], Field(fail_fast=True)]


class StreamOptions(RequestBody):
    """Options of a stream."""

    passive_fields: ClassVar[Fields] = STREAM_OPTION_FIELDS

    include_usage: bool | None = None
    """Send one more chunk at the end, with the usage of the whole request."""
    continuous_usage_stats: bool | None = None
    """With `include_usage`: every chunk has the usage so far. Default false."""


class GenerationParameters(RequestBody):
    """Rules for choosing tokens and for stopping.

    A parameter that is left out, or null, has the default of the task's version, or else the default stated here.
    A chat has the base model's own sampling parameters (`generation_config.json`) before those, unless the version sets
    a temperature, `top_p`, `top_k`, `min_p` or a penalty.
    """

    model: ModelName
    """A task reference (`task`, `task@3`, `task@alias`) or the base model's id."""
    max_tokens: int | None = Field(default=None, ge=-1, le=_MAX_INT32)
    """Maximum number of generated tokens. -1 is the room left in the context. Default: 16 for completions; for
    chat the room left, and at most the server's `--max-chat-tokens`."""
    min_tokens: int | None = Field(default=None, ge=0, le=_MAX_INT32)
    """Minimum number of tokens before an end token, stop token or stop string may end the answer. Default 0."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Randomness of the choice. 0 always takes the most likely token. Default 1."""
    top_p: float | None = Field(default=None, ge=0, le=1)
    """Choose among the most likely tokens whose probabilities sum to this value; 0 takes the most likely one.
    Default 1 (off)."""
    top_k: int | None = Field(default=None, ge=-1, le=_MAX_INT32)
    """Choose among this number of most likely tokens. 0 and -1 are off. Default 0."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Choose among tokens with at least this fraction of the likeliest token's probability. Default 0 (off)."""
    n: int | None = Field(default=None, ge=1, le=_MAX_INT32)
    """Number of answers per prompt. Default 1."""
    seed: int | None = Field(default=None, ge=-_MAX_INT64 - 1, le=_MAX_INT64)
    """The same seed gives the same answer, whatever else is in the batch. Default: a new seed for each request."""
    stop: str | _Texts | None = None
    """A stop string or a list of them. The answer ends before the first one. Those of the task's version apply too.
    An empty text is none."""
    stop_token_ids: TokenIds | None = None
    """Tokens that end the answer and are not part of its text."""
    ignore_eos: bool | None = None
    """Continue after the end token. Default false."""
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    """Numbers to add to logits, keyed by token id in decimal digits."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Number to subtract from the logit of every token that the answer already contains. Default 0."""
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    """Number to subtract from a token's logit for each time that the answer contains it. Default 0."""
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    """Penalty on tokens of the prompt and the answer: it divides a positive logit and multiplies a negative one.
    Default 1 (off)."""
    response_format: ResponseFormat | None = None
    """The form of the answers. Default: that of the task's version, or free text."""
    structured_outputs: StructuredOutputs | None = None
    """The form of the answers, named otherwise: send one of the two. Default: that of the task's version, or free
    text."""
    stream: bool | None = None
    """Send the answer as server-sent events while it is generated. An ensemble cannot stream. Default false."""
    stream_options: StreamOptions | None = None
    """Options of the stream. Without `stream` they have no effect: an answer always has its usage."""
    return_token_ids: bool | None = None
    """Return the token ids of prompt and answer too. Default false."""
    priority: int | None = Field(default=None, ge=-100, le=100)
    """Requests with a lower number are scheduled earlier. The key sets the lowest number allowed. Running requests are
    not interrupted. Default 0."""
    user: str | None = None
    """Accepted and ignored."""
    metadata: dict[str, Any] | None = None
    """Accepted and ignored."""
    store: bool | None = None
    """Accepted and ignored."""


class PromptTokensDetails(ResponseBody):
    """Details of the prompt's tokens."""

    cached_tokens: int
    """Number of `prompt_tokens` whose keys and values came from the cache."""
    virtual_tokens: int
    """Number of virtual tokens of the soft prompt. `prompt_tokens` does not include them."""


class Usage(ResponseBody):
    """Numbers of text tokens read and generated. For an ensemble, the sum over its members."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
