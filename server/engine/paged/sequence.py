"""Sequences, and the group of all sequences of one request.

Of the state of a request only this is mutable, and only the engine thread touches it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import abc
from typing import Protocol

import torch

from server.engine.events import EngineEvent, EventSink, TokenLogprob
from server.engine.paged.block_manager import BlockKey, chain_root
from server.engine.paged.encoder_state import EncoderState
from server.engine.request import Kind, Request
from server.model.encoder_decoder.decoding import Decoding
from server.model.hidden_rows import HiddenRows
from server.model.prefix import Prefix, PrefixKind
from server.model.sampling.readout import Readout, Scoring
from server.model.sampling.sampling_row import SamplingRow
from server.soft_prompts.residency import ResidentPrefix
from server.structured_outputs.compiled import Matcher


class Sequence:
    """A line of tokens behind a prefix.

    `tokens` are text tokens: prompt, then output or the continuation to score. `num_computed` of them have their keys
    and values in blocks. `block_table` covers virtual and text positions; its first `num_shared_blocks` belong to the
    prefix. `scores` holds the log-probabilities of given tokens from index `score_from` on. Where `is_scored`, all
    tokens are given, and the last one is predicted but never read. `next_hidden` is the index of the next token whose
    hidden state is wanted, None if none ever is; `hidden` holds those computed. `matcher` says which tokens may come
    next, None if any may. It stands behind the last of `tokens`, also while the sequence is preempted.

    Behind an encoder, the prompt is what the decoder is given; the request's prompt is the encoder's (`group.encoder`).
    """

    def __init__(
        self, group: RequestGroup, choice: int, tokens: list[int], num_prompt: int, *, is_scored: bool = False
    ) -> None:
        self.group = group
        self.choice = choice
        self.tokens = tokens
        self.num_prompt = num_prompt
        self.is_scored = is_scored
        self.num_computed = 0
        self.block_table: list[int] = []
        self.num_shared_blocks = 0
        encoder_digest = b"" if group.encoder is None else group.encoder.digest
        self.block_keys: list[BlockKey] = [chain_root(group.request.prefix, group.salt, encoder_digest)]
        self.lease: ResidentPrefix | None = None
        self.score_from: int | None = None
        self.scores: list[TokenLogprob] = []
        self.next_hidden: int | None = None
        self.hidden: list[torch.Tensor] = []
        self.matcher: Matcher | None = None
        self.num_turn_start = num_prompt  # tokens at the latest admission
        self.waits_for_room_since: int | None = None  # tokens served to all tasks when it first found no room
        self.pending_forks: list[Sequence] = []
        self.reads_encoder = False  # whether it holds the blocks of its encoder's output, with its siblings
        self.is_finished = False

    @property
    def task(self) -> str:
        """The fairness key."""
        return self.group.task

    @property
    def age(self) -> tuple[int, int, int]:
        """The place in its task's queue: by priority, then requests by arrival, then their choices."""
        return self.group.request.priority, self.group.arrival, self.choice

    @property
    def arrived_at(self) -> float:
        """The time at which its request came, monotonic, in seconds."""
        return self.group.arrived_at

    @property
    def prefix(self) -> Prefix | None:
        """The soft prompt before the text, or None."""
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
        """Text tokens to compute now."""
        return len(self.tokens) - 1 if self.is_scored else len(self.tokens)

    @property
    def num_remaining(self) -> int:
        """Text tokens that the next steps must compute before the request can go on."""
        return self.num_target - self.num_computed

    @property
    def sits_out(self) -> bool:
        """Whether no token can be sampled yet: the mask of its form came too late for a step, and is not there."""
        return self.matcher is not None and self.matcher.sits_out

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

    def keep_hidden(self, rows: HiddenRows) -> None:
        """A step has computed hidden states up to the last committed token: keep those that are wanted."""
        assert self.next_hidden is not None
        computed = rows.joined()
        num_wanted = max(0, self.num_computed - self.next_hidden)
        if num_wanted:
            self.hidden.append(computed[-num_wanted:])
            self.next_hidden += num_wanted

    @property
    def num_turn_tokens(self) -> int:
        """Tokens sampled since it was last admitted."""
        return len(self.tokens) - self.num_turn_start

    @property
    def num_given(self) -> int:
        """Tokens that were not sampled."""
        return len(self.tokens) if self.is_scored else self.num_prompt

    @property
    def own_blocks(self) -> list[int]:
        """Blocks of the table that this sequence holds a reference on."""
        return self.block_table[self.num_shared_blocks :]

    @property
    def cross_blocks(self) -> list[int]:
        """Blocks of the encoder's output, which all running sequences of the request share."""
        return [] if self.group.encoder is None else self.group.encoder.block_table

    @property
    def num_encoder_tokens(self) -> int:
        """Positions of the encoder that the next step must compute for this sequence."""
        return 0 if self.group.encoder is None else self.group.encoder.num_to_compute


def _encoder_state(request: Request[Kind]) -> EncoderState:
    prefix = request.prefix
    prompt = prefix.tensor if prefix is not None and prefix.kind is PrefixKind.EMBEDDINGS else None
    return EncoderState(prompt, request.prompt_token_ids)


class SequenceControl(Protocol):
    """The engine, as a group uses it to start and end its sequences, and to end itself."""

    def fork(self, parent: Sequence, children: abc.Sequence[Sequence]) -> None:
        """Start children whose tokens begin with what the parent has computed, on the parent's blocks."""

    def finish(self, sequence: Sequence) -> None:
        """End a sequence: take its blocks and its lease back."""

    def close(self, group: RequestGroup, terminal: EngineEvent) -> None:
        """End a request with its terminal event."""

    def fail(self, group: RequestGroup, cause: BaseException) -> None:
        """End a request with its cause."""


class RequestGroup(ABC):
    """All sequences of one request, and the sink of its events.

    Each kind of request has a subclass. The first of `sequences` is queued when the request is accepted; `advance`
    forks the others. `num_top_logprobs` is the number of most likely tokens that are wanted with each scored one.
    `has_choices` says whether a choice can be aborted alone. `arrival` numbers the requests. `arrived_at` is
    the monotonic time of it, in seconds. A base with an encoder has `decoding`, and `encoder` is the request's part of
    it.
    """

    num_top_logprobs = 0
    has_choices = False

    def __init__(self, request: Request[Kind], sink: EventSink, arrival: int, decoding: Decoding | None) -> None:
        self.request = request
        self.decoding = decoding
        self.encoder = None if decoding is None else _encoder_state(request)
        self.emit = sink
        self.arrival = arrival
        self.arrived_at = time.monotonic()
        self.num_cached_tokens: int | None = None  # set at the first admission
        self.sequences: list[Sequence] = []

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
        """The soft prompt before the text of the sequences, or None; an encoder may have it before its input."""
        is_encoded = self.encoder is not None and self.encoder.has_prompt
        return None if is_encoded else self.request.prefix

    @property
    def salt(self) -> bytes:
        """The salt that keeps this caller's cached blocks apart."""
        return self.request.salt

    @property
    def is_complete(self) -> bool:
        """Whether every sequence has ended."""
        return all(sequence.is_finished for sequence in self.sequences)

    @abstractmethod
    def read_last_row(self, sequence: Sequence, row: int) -> tuple[abc.Sequence[SamplingRow], Scoring | None]:
        """The tokens to sample and to score from the row of logits after a sequence's last token."""

    @abstractmethod
    def advance(self, sequence: Sequence, readout: Readout, control: SequenceControl) -> None:
        """A step has computed all tokens of a sequence: use what it read, and go on or end."""

    @abstractmethod
    def report_abort(self, sequence: Sequence) -> None:
        """A sequence was aborted: emit the event for it, if this kind of request has one."""
