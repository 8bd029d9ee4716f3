"""What crosses into and out of the engine: frozen requests in, frozen events out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from server.model.prefix import Prefix


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen and when a sequence ends.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1.0 and `min_p` 0.0 are off. `seed` None draws one at the door.
    `stop_token_ids` end the sequence with the token withheld from the output text (the token id is still reported).
    `num_logprobs` None asks for none; k >= 0 asks for the sampled token's log-probability and the k most likely.
    `prompt_logprobs` does the same for the prompt's own tokens (the first has none).
    Penalties follow OpenAI (presence, frequency: over output tokens) and CTRL, Keskar et al. 2019 (repetition: over
    prompt and output tokens).
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    num_logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Generate `num_choices` continuations of one prompt behind one prefix.

    `task` is the fairness key (a task's name, or "" for the base model). `salt` isolates the prefix cache. A lower
    `priority` is admitted earlier.
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
