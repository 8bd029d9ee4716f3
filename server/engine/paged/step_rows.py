"""The rows of a step's logits that each sequence reads, planned before they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.engine.paged.encoder_state import EncoderState
from server.engine.paged.sequence import Sequence
from server.model.flat_batch import Chunk
from server.model.hidden_rows import HiddenRows
from server.model.sampling.readout import Scoring, Wanted


@dataclass(frozen=True, slots=True, eq=False)
class StepRows:
    """The chunk of one sequence that a step computes, and the tokens to sample and score from its rows of logits."""

    sequence: Sequence
    chunk: Chunk
    wanted: Wanted

    @property
    def num_encoder_text_tokens(self) -> int:
        """Text tokens of the encoder's input that the step computes with this chunk."""
        new = None if self.chunk.cross is None else self.chunk.cross.new
        return 0 if new is None else len(new.tokens)


def plan_rows(runnable: Mapping[Sequence, int]) -> list[StepRows]:
    """The chunks of a step, with the given number of tokens per sequence, and the rows that are read of each."""
    plans, first_row = [], 0
    brought: set[EncoderState] = set()
    for sequence, num_tokens in runnable.items():
        chunk = _chunk(sequence, num_tokens, brought)
        rows = range(first_row, first_row + chunk.num_logits)
        first_row = rows.stop
        is_last = num_tokens == sequence.num_remaining
        reads_row = is_last and bool(rows)
        samplings, scoring = sequence.group.read_last_row(sequence, rows[-1]) if reads_row else ((), None)
        plans.append(StepRows(sequence, chunk, Wanted(rows, samplings, scoring or _given(sequence, chunk, rows))))
    return plans


def _chunk(sequence: Sequence, num_tokens: int, brought: set[EncoderState]) -> Chunk:
    """`brought` are the encoder inputs that chunks of the step bring."""
    start = sequence.num_computed
    if sequence.next_hidden is not None:
        return _hidden_chunk(sequence, num_tokens, sequence.next_hidden)
    logits_from = num_tokens - 1  # the last row is always read: NaN is found in the chunk that makes it
    if sequence.num_unscored is not None:
        logits_from = min(logits_from, sequence.num_unscored)
    tokens = sequence.tokens[start : start + num_tokens]
    encoder = sequence.group.encoder
    cross = None
    if encoder is not None:
        cross = encoder.cross(is_first=encoder not in brought)
        brought.add(encoder)
    return Chunk(tokens, sequence.num_virtual + start, sequence.block_table, logits_from, cross)


def _hidden_chunk(sequence: Sequence, num_tokens: int, next_hidden: int) -> Chunk:
    """A chunk without logits, whose hidden states are read from the first wanted one on, or of its last token."""
    start = sequence.num_computed
    hidden = HiddenRows(min(max(0, next_hidden - start), num_tokens - 1))
    tokens = sequence.tokens[start : start + num_tokens]
    return Chunk(tokens, sequence.num_virtual + start, sequence.block_table, None, hidden=hidden)


def _given(sequence: Sequence, chunk: Chunk, rows: range) -> Scoring | None:
    """Given tokens that the chunk predicts, as far as their log-probabilities are wanted."""
    start = sequence.next_score
    if start is None:
        return None
    first_index = sequence.num_computed + (chunk.logits_from or 0)  # its row predicts the token after it
    stop = min(first_index + 1 + len(rows), sequence.num_given)
    if stop <= start:
        return None
    first_row = rows.start + start - 1 - first_index
    scored = range(first_row, first_row + stop - start)
    return Scoring(scored, sequence.tokens[start:stop], sequence.group.num_top_logprobs)
