"""One request inside the engine: what was asked, what has been computed, and which blocks it holds.

Of what a request owns only this is mutable, and only the engine thread touches it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from server.engine.block_manager import BlockKey, chain_root
from server.engine.request import EngineEvent, GenerateRequest, Request, SamplingParams, ScoreRequest, TokenLogprob
from server.model.prefix import Prefix
from server.soft_prompts.residency import ResidentPrefix

EventSink = Callable[[EngineEvent], None]


class SequenceKind(Enum):
    """What a sequence is computed for."""

    GENERATE = auto()  # sample a token after the last one
    STEM = auto()  # compute a prompt whose continuations are scored
    SCORE = auto()  # log-probabilities of given tokens


class Sequence:
    """A line of tokens behind a prefix.

    `tokens` are text tokens: prompt, then output or the continuation to score. `num_computed` of them have their keys
    and values in blocks. `block_table` covers virtual and text positions; its first `num_shared_blocks` belong to the
    prefix. `scores` holds the log-probabilities of given tokens from index `score_from` on.
    """

    def __init__(
        self, group: RequestGroup, kind: SequenceKind, choice: int, tokens: list[int], num_prompt: int
    ) -> None:
        self.group = group
        self.kind = kind
        self.choice = choice
        self.tokens = tokens
        self.num_prompt = num_prompt
        self.num_computed = 0
        self.block_table: list[int] = []
        self.num_shared_blocks = 0
        self.block_keys: list[BlockKey] = [chain_root(group.prefix, group.salt)]
        self.lease: ResidentPrefix | None = None
        self.score_from: int | None = None
        self.scores: list[TokenLogprob] = []
        self.num_turn_start = num_prompt  # tokens at the latest admission
        self.waits_for_room_since: int | None = None  # tokens served to everybody when it first found no room
        self.pending_forks: list[Sequence] = []
        self.is_finished = False

    @property
    def task(self) -> str:
        """The fairness key."""
        return self.group.task

    @property
    def prefix(self) -> Prefix | None:
        """What stands before the text."""
        return self.group.prefix

    @property
    def is_unforked(self) -> bool:
        """Whether it still waits for another sequence of its request to compute the prompt, and is in no queue."""
        return any(self in other.pending_forks for other in self.group.sequences)

    @property
    def num_virtual(self) -> int:
        """Positions before the first text token."""
        return self.group.prefix.num_virtual_tokens if self.group.prefix is not None else 0

    @property
    def num_target(self) -> int:
        """Text tokens to compute now: a scored continuation's last token is predicted, never read."""
        return len(self.tokens) - 1 if self.kind is SequenceKind.SCORE else len(self.tokens)

    @property
    def num_remaining(self) -> int:
        """Text tokens that the next steps must compute before anything comes out."""
        return self.num_target - self.num_computed

    @property
    def num_output(self) -> int:
        """Tokens sampled so far."""
        return len(self.tokens) - self.num_prompt

    @property
    def next_score(self) -> int | None:
        """Index of the next given token whose log-probability is wanted, or None."""
        if self.score_from is None:
            return None
        index = self.score_from + len(self.scores)
        return index if index < self.num_given else None

    @property
    def num_unscored(self) -> int | None:
        """Text tokens to compute before the first whose row of logits scores the token after it, or None."""
        return None if self.next_score is None else max(0, self.next_score - 1 - self.num_computed)

    @property
    def num_turn_tokens(self) -> int:
        """Tokens sampled since it was last admitted."""
        return len(self.tokens) - self.num_turn_start

    @property
    def num_given(self) -> int:
        """Tokens that were not sampled."""
        return len(self.tokens) if self.kind is SequenceKind.SCORE else self.num_prompt

    @property
    def own_blocks(self) -> list[int]:
        """Blocks of the table that this sequence holds a reference on."""
        return self.block_table[self.num_shared_blocks :]


class RequestGroup:
    """All sequences of one request, and where its events go."""

    def __init__(self, request: Request, sink: EventSink, seed: int, arrival: int) -> None:
        self.request = request
        self.sink = sink
        self.seed = seed
        self.arrival = arrival
        self.num_cached_tokens: int | None = None  # set at the first admission
        self.sequences: list[Sequence] = []
        self.is_prompt_reported = False
        self.scores: list[float | None] = []
        self._create(request)

    @property
    def request_id(self) -> str:
        """The caller's name for the request."""
        return self.request.request_id

    @property
    def task(self) -> str:
        """The fairness key."""
        return self.request.task

    @property
    def prefix(self) -> Prefix | None:
        """The soft prompt, or None for the bare base model."""
        return self.request.prefix

    @property
    def salt(self) -> bytes:
        """What keeps this caller's cached blocks apart."""
        return self.request.salt

    @property
    def sampling(self) -> SamplingParams:
        """Parameters of a generate request."""
        assert isinstance(self.request, GenerateRequest)
        return self.request.sampling

    @property
    def is_complete(self) -> bool:
        """Whether every sequence has ended."""
        return all(sequence.is_finished for sequence in self.sequences)

    def _create(self, request: Request) -> None:
        prompt = list(request.prompt_token_ids)
        if isinstance(request, ScoreRequest):
            self.scores = [None] * len(request.continuations)
            self.sequences = [Sequence(self, SequenceKind.STEM, 0, prompt, len(prompt))]
            return
        for choice in range(request.num_choices):
            self.sequences.append(Sequence(self, SequenceKind.GENERATE, choice, list(prompt), len(prompt)))
        first, *others = self.sequences
        first.pending_forks = others
        if request.sampling.prompt_logprobs is not None:
            first.score_from = 1
