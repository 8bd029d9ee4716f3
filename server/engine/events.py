"""Events of a request, in the order of their coming, and the observers that see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.engine.request import Kind, Request


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
    """The prompt of a generate request is computed. Sent once, before the first token.

    `prompt_logprobs` has one entry per prompt token, or is empty.
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
    """The result of a score request: one sum of natural log-probabilities per continuation, in its order."""

    logprobs: tuple[float, ...]
    num_cached_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The result of an encode request: what the head made of the hidden states, float32 `[n, width]`."""

    values: NDArray[np.float32]
    num_cached_tokens: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The engine could not finish the request. `cause` is for logs, never for the wire."""

    cause: BaseException = field(compare=False)


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """The request has ended without a result of its own: its choices have all ended, or it was aborted."""


EngineEvent = PromptProcessed | TokenEvent | ChoiceFinished | Scored | Encoded | RequestFailed | RequestFinished

EventSink = Callable[[EngineEvent], None]

TERMINAL = (RequestFinished, Scored, Encoded, RequestFailed)
"""The events that end a request: the last of each stream is one of these."""


class RequestObserver(Protocol):
    """Sees one accepted request: its events in order, then its end, once."""

    def event(self, event: EngineEvent) -> None:
        """An event has come, the terminal one included."""

    def end(self, *, is_aborted: bool) -> None:
        """The request is over. It is aborted if its reader left or ended it before it was finished."""


class EngineObserver(Protocol):
    """Sees the requests that an engine accepts, except those of `EngineClient.unobserved`."""

    def begin(self, request: Request[Kind]) -> RequestObserver:
        """The engine has accepted a request."""
