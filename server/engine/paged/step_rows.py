"""The rows of a step's logits that each sequence reads, planned before they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.engine.paged.sequence import Sequence
from server.model.flat_batch import Chunk
from server.model.sampling.readout import Scoring, Wanted


@dataclass(frozen=True, slots=True, eq=False)
class StepRows:
    """The chunk of one sequence that a step computes, and the tokens to sample and score from its rows of logits."""

    sequence: Sequence
    chunk: Chunk
    wanted: Wanted


def plan_rows(runnable: Mapping[Sequence, int]) -> list[StepRows]:
    """The chunks of a step, with the given number of tokens per sequence, and the rows that are read of each."""
    plans, first_row = [], 0
    for sequence, num_tokens in runnable.items():
        chunk = _chunk(sequence, num_tokens)
        rows = range(first_row, first_row + chunk.num_logits)
        first_row = rows.stop
        is_last = num_tokens == sequence.num_remaining
        samplings, scoring = sequence.group.read_last_row(sequence, rows[-1]) if is_last else ((), None)
        plans.append(StepRows(sequence, chunk, Wanted(rows, samplings, scoring or _given(sequence, chunk, rows))))
    return plans


def _chunk(sequence: Sequence, num_tokens: int) -> Chunk:
    start = sequence.num_computed
    logits_from = num_tokens - 1  # the last row is always read: NaN is found in the chunk that makes it
    if sequence.num_unscored is not None:
        logits_from = min(logits_from, sequence.num_unscored)
    tokens = sequence.tokens[start : start + num_tokens]
    return Chunk(tokens, sequence.num_virtual + start, sequence.block_table, logits_from)


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
