"""Which rows of a step's logits each sequence reads, and what for: known before they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.engine.options import EngineOptions
from server.engine.request import ScoreRequest
from server.engine.sequence import Sequence, SequenceKind
from server.model.flat_batch import Chunk
from server.model.sampling.readout import Scoring, Wanted
from server.model.sampling.sampling_row import SamplingRow


@dataclass(frozen=True, slots=True, eq=False)
class StepRows:
    """What a step computes of one sequence, and what it wants of the chunk's rows of logits."""

    sequence: Sequence
    chunk: Chunk
    wanted: Wanted


def plan_rows(runnable: Mapping[Sequence, int], options: EngineOptions) -> list[StepRows]:
    """The chunks of a step, so many tokens of each sequence, and what is read of the logits that they make."""
    plans, first_row = [], 0
    for sequence, num_tokens in runnable.items():
        chunk = _chunk(sequence, num_tokens)
        rows = range(first_row, first_row + chunk.num_logits)
        first_row = rows.stop
        is_last = num_tokens == sequence.num_remaining
        samplings = _samplings(sequence, rows[-1], options) if is_last else []
        scoring = _continuations(sequence, rows[-1]) if is_last else None
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
    num_top = 0
    if sequence.kind is SequenceKind.GENERATE:
        num_top = sequence.group.sampling.prompt_logprobs or 0
    return Scoring(range(first_row, first_row + stop - start), sequence.tokens[start:stop], num_top)


def _continuations(sequence: Sequence, row: int) -> Scoring | None:
    """The first token of each continuation of a stem, after its last row."""
    request = sequence.group.request
    if sequence.kind is not SequenceKind.STEM or not isinstance(request, ScoreRequest):
        return None
    return Scoring(range(row, row + 1), [continuation[0] for continuation in request.continuations], 0)


def _samplings(sequence: Sequence, row: int, options: EngineOptions) -> list[SamplingRow]:
    """The next token of a sequence, and the first of each choice that waits for its prompt."""
    if sequence.kind is not SequenceKind.GENERATE or sequence.group.sampling.max_tokens == 0:
        return []
    return [_sampling_row(one, row, options) for one in (sequence, *sequence.pending_forks)]


def _sampling_row(sequence: Sequence, row: int, options: EngineOptions) -> SamplingRow:
    sampling = sequence.group.sampling
    forbidden: frozenset[int] = frozenset()
    if sequence.num_output < sampling.min_tokens:
        forbidden = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else options.eos_token_ids)
    return SamplingRow(
        row,
        sampling,
        sequence.group.seed,
        choice=sequence.choice,
        num_output=sequence.num_output,
        prompt=sequence.tokens[: sequence.num_prompt] if sampling.penalises else (),
        output=sequence.tokens[sequence.num_prompt :] if sampling.penalises else (),
        forbidden=forbidden,
    )
