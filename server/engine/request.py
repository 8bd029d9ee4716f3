"""What crosses into and out of the engine: frozen requests in, frozen events out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from server.model.prefix import Prefix
from server.model.sampling.sampling_params import SamplingParams as SamplingParams  # a part of requests


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Generate `num_choices` continuations of one prompt behind one prefix.

    `task` is the fairness key (a task's name, or "" for the base model). `salt` isolates the prefix cache. A lower
    `priority` is admitted earlier. Observers do not see a request of the server's own, which no client sent.
    The prompt is prefilled once; the choices are forks that share its blocks.
    """

    request_id: str
    task: str
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    prefix: Prefix | None = None
    num_choices: int = 1
    salt: bytes = b""
    priority: int = 0
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Score continuations of one prompt: the prompt is prefilled once, each continuation is a fork sharing its blocks.

    `continuations` are token ids with the end token already appended where it counts; none may be empty.
    """

    request_id: str
    task: str
    prompt_token_ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    prefix: Prefix | None = None
    salt: bytes = b""
    priority: int = 0
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural log-probability of one token and of the most likely ones in its place (most likely first)."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class FinishReason(StrEnum):
    """Why a choice ended. `STOP` covers the end token, a stop token and a stop string found by the caller."""

    STOP = "stop"
    LENGTH = "length"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class PromptProcessed:
    """Sent once per generate request, before its first token.

    `prompt_logprobs` has one entry a prompt token, or is empty.
    """

    num_cached_tokens: int
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One new token of one choice. `finish_reason` is set on its last token."""

    choice: int
    token_id: int
    logprob: TokenLogprob | None = None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """A choice ended without a further token: `max_tokens` 0, or aborted."""

    choice: int
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Scored:
    """The terminal event of a score request: one sum of natural log-probabilities a continuation, in its order."""

    logprobs: tuple[float, ...]
    num_cached_tokens: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The terminal event of a request that the engine could not finish. `cause` is for logs, never for the wire."""

    cause: BaseException = field(compare=False)


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """The terminal event of a generate request whose choices have all ended."""


EngineEvent = PromptProcessed | TokenEvent | ChoiceFinished | Scored | RequestFailed | RequestFinished
Request = GenerateRequest | ScoreRequest
