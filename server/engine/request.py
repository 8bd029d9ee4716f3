"""Requests: the part that all have in common, and the kinds of work.

A new kind is a class here with the members of the others, a part of `Kind`, and an event with its result in
`events.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, Generic, TypeVar

from server.engine.errors import RequestRefused
from server.model.heads.head import Head
from server.model.prefix import Prefix
from server.model.sampling.sampling_params import SamplingParams as SamplingParams  # a part of requests
from server.structured_outputs.compiled import CompiledConstraint


@dataclass(frozen=True, slots=True)
class Generate:
    """Sample `num_choices` continuations: one `TokenEvent` per token, and `RequestFinished` after the last.

    With a `constraint`, only tokens that its form allows are sampled. An answer that is complete ends, whatever
    `min_tokens` says.
    """

    sampling: SamplingParams
    num_choices: int = 1
    constraint: CompiledConstraint | None = None

    name: ClassVar[str] = "generate"

    @property
    def max_new_tokens(self) -> int:
        """Positions that one sequence may need behind the prompt."""
        return self.sampling.max_tokens

    def token_ids(self) -> Iterable[int]:
        """The token ids that it names besides the prompt's: biased and stop tokens."""
        return chain((token for token, _ in self.sampling.logit_bias), self.sampling.stop_token_ids)

    def check(self) -> None:
        """Raise `RequestRefused` without a choice."""
        if self.num_choices < 1:
            raise RequestRefused("at least one choice is needed")


@dataclass(frozen=True, slots=True)
class Score:
    """Sum the log-probabilities of each continuation's tokens. The result is one `Scored`.

    `continuations` are token ids with the end token already appended where it counts; none may be empty.
    """

    continuations: tuple[tuple[int, ...], ...]

    name: ClassVar[str] = "score"

    @property
    def max_new_tokens(self) -> int:
        """Positions that one sequence may need behind the prompt."""
        return max(map(len, self.continuations))

    def token_ids(self) -> Iterable[int]:
        """The token ids that it names besides the prompt's: those to score."""
        return chain.from_iterable(self.continuations)

    def check(self) -> None:
        """Raise `RequestRefused` without a continuation, and for an empty one."""
        if not self.continuations:
            raise RequestRefused("at least one continuation is needed")
        if not all(self.continuations):
            raise RequestRefused("each continuation needs at least one token")


@dataclass(frozen=True, slots=True)
class Encode:
    """Compute the prompt's hidden states and put a head on them. The result is one `Encoded`."""

    head: Head

    name: ClassVar[str] = "encode"

    @property
    def max_new_tokens(self) -> int:
        """No positions behind the prompt."""
        return 0

    def token_ids(self) -> Iterable[int]:
        """No token ids besides the prompt's."""
        return ()

    def check(self) -> None:
        """Every head can be asked for."""


Kind = Generate | Score | Encode
KindT_co = TypeVar("KindT_co", bound=Kind, covariant=True)


@dataclass(frozen=True, slots=True)
class Request(Generic[KindT_co]):
    """Work of one kind on one prompt behind one prefix.

    `task` is the fairness key (a task's name, or "" for the base model). `salt` isolates the prefix cache. A lower
    `priority` is admitted earlier. `is_batch`: nobody waits for it, and it yields to all others (`thread/lanes.py`).
    """

    request_id: str
    task: str
    prompt_token_ids: tuple[int, ...]
    kind: KindT_co
    prefix: Prefix | None = None
    salt: bytes = b""
    priority: int = 0
    is_batch: bool = False
