"""The step loop: schedule, run, sample, hand out.

Synchronous and single-threaded; `AsyncEngine` gives it a thread. Every accepted request ends in exactly one terminal
event: `RequestFinished`, `Scored` or `RequestFailed`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from collections.abc import Sequence as Many

import torch

from server.engine.client import EngineStats
from server.engine.errors import NumbersOverflow, StepFailed
from server.engine.options import EngineOptions
from server.engine.request import (
    ChoiceFinished,
    EngineEvent,
    FinishReason,
    GenerateRequest,
    PromptProcessed,
    Request,
    RequestFailed,
    RequestFinished,
    Scored,
    ScoreRequest,
    TokenEvent,
    TokenLogprob,
)
from server.engine.scheduler import Scheduler, StepPlan
from server.engine.sequence import RequestGroup, Sequence, SequenceKind
from server.model.errors import NonFiniteValues
from server.model.flat_batch import Chunk
from server.model.memory_guard import MemoryGuard
from server.model.runner import PrefixPlacement, Runner
from server.model.sampler import SampledRow, SamplingRow, finite_rows, sample, score
from server.soft_prompts.residency import ResidentPrefix

logger = logging.getLogger(__name__)


class Engine:
    """All requests over one runner."""

    def __init__(self, runner: Runner, options: EngineOptions) -> None:
        self._runner = MemoryGuard(runner)
        self._options = options
        self._scheduler = Scheduler(options)
        self._groups: dict[str, RequestGroup] = {}
        self._num_arrivals = 0
        self._num_steps = 0
        self._num_step_tokens = 0
        self._num_step_failures = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self._scheduler.has_work

    @property
    def stats(self) -> EngineStats:
        """A snapshot between steps."""
        scheduler = self._scheduler
        return EngineStats(
            num_waiting=scheduler.num_waiting,
            num_running=scheduler.num_running,
            num_blocks=scheduler.blocks.num_blocks,
            num_free_blocks=scheduler.blocks.num_free,
            num_resident_prefixes=scheduler.residency.num_resident,
            num_leases=scheduler.residency.num_leases,
            num_steps=self._num_steps,
            num_preemptions=scheduler.num_preemptions,
            num_prefix_loads=scheduler.residency.num_loads,
            num_prefix_evictions=scheduler.residency.num_evictions,
            num_prefix_blocks=scheduler.residency.num_blocks,
            num_step_tokens=self._num_step_tokens,
            num_step_failures=self._num_step_failures,
            num_out_of_memory=self._runner.num_out_of_memory,
        )

    def add(self, request: Request, sink: Callable[[EngineEvent], None]) -> None:
        """Accept a request that passed `check_request`; its events go to `sink`, in order."""
        seed = request.sampling.seed if isinstance(request, GenerateRequest) else None
        group = RequestGroup(
            request, sink, seed=secrets.randbits(63) if seed is None else seed, arrival=self._num_arrivals
        )
        self._num_arrivals += 1
        self._groups[request.request_id] = group
        self._scheduler.add(group.sequences[0])

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """End a request, or one of its choices. Unknown ids and ended choices are ignored.

        A score request has no choices: it ends as a whole.
        """
        group = self._groups.get(request_id)
        if group is None or (isinstance(group.request, ScoreRequest) and choice is not None):
            return
        for sequence in list(group.sequences):
            if not sequence.is_finished and (choice is None or sequence.choice == choice):
                self._abort(sequence)
        if isinstance(group.request, ScoreRequest):
            self._close(group, RequestFinished())
        else:
            self._close_if_complete(group)

    def step(self) -> None:
        """Compute one batch. A failure ends the requests in it, with its cause, and nothing else."""
        plan = self._scheduler.schedule()
        self._num_steps += 1
        self._num_step_tokens += plan.num_tokens
        try:
            self._runner.zero_blocks(self._scheduler.blocks.take_fresh())
            self._load_prefixes(plan.loads)
            runnable = {sequence: count for sequence, count in plan.chunks.items() if not sequence.is_finished}
            self._runner.copy_blocks([copy for sequence, copy in plan.copies.items() if sequence in runnable])
            if runnable:
                chunks = [_chunk(sequence, count) for sequence, count in runnable.items()]
                self._hand_out(runnable, chunks, self._runner.forward(chunks))
        except Exception as error:  # the step loop is where any failure of a batch becomes its requests' failure
            logger.exception("a step failed; its requests fail with it")
            self._fail_step(plan, error)

    # --- the parts of a step ------------------------------------------------------------------------------------------

    def _load_prefixes(self, loads: Many[ResidentPrefix]) -> None:
        if not loads:
            return
        failures = self._runner.load_prefixes([PrefixPlacement(entry.prefix, entry.blocks) for entry in loads])
        for entry, failure in zip(loads, failures, strict=True):
            if failure is None:
                self._scheduler.residency.mark_loaded(entry)
            else:
                for group in self._leaseholders(entry):
                    self._fail(group, _overflow(failure))
                self._scheduler.residency.discard(entry)

    def _hand_out(self, runnable: dict[Sequence, int], chunks: Many[Chunk], logits: torch.Tensor) -> None:
        """Turn logits into scores and tokens; rows of `logits` follow the chunks."""
        finite = finite_rows(logits)
        to_sample: list[tuple[Sequence, int]] = []
        first_row = 0
        for (sequence, count), chunk in zip(runnable.items(), chunks, strict=True):
            rows = range(first_row, first_row + chunk.num_logits)
            first_row = rows.stop
            if sequence.is_finished:  # a sibling in this very batch has failed the request
                continue
            if not all(finite[row] for row in rows):
                self._fail(sequence.group, _overflow(NonFiniteValues("the logits hold NaN or infinity")))
                continue
            first_index = sequence.num_computed + (chunk.logits_from or 0)
            self._scheduler.commit(sequence, count)
            self._collect_scores(sequence, first_index, logits[rows.start : rows.stop])
            if sequence.num_remaining == 0:
                to_sample.extend(self._advance(sequence, rows.stop - 1, logits))
        # A sibling later in the batch may have failed the request of a sequence that came before it.
        to_sample = [(sequence, row) for sequence, row in to_sample if not sequence.is_finished]
        sampled = sample(logits, [_sampling_row(sequence, row, self._options) for sequence, row in to_sample])
        for (sequence, _), result in zip(to_sample, sampled, strict=True):
            self._append(sequence, result)

    def _collect_scores(self, sequence: Sequence, first_index: int, rows: torch.Tensor) -> None:
        """Row i predicts token `first_index + i + 1`: note the log-probabilities of those that were given."""
        start = sequence.next_score
        if start is None:
            return
        stop = min(first_index + 1 + len(rows), sequence.num_given)
        if stop <= start:
            return
        tokens = sequence.tokens[start:stop]
        offset = start - 1 - first_index
        num_top = 0
        if sequence.kind is SequenceKind.GENERATE:
            num_top = sequence.group.sampling.prompt_logprobs or 0
        scores = score(rows[offset : offset + len(tokens)], tokens, num_top)
        sequence.scores.extend(TokenLogprob(t, s.logprob, s.top) for t, s in zip(tokens, scores, strict=True))

    def _advance(self, sequence: Sequence, row: int, logits: torch.Tensor) -> list[tuple[Sequence, int]]:
        """Everything known of a sequence is computed; returns what to sample, and from which row of logits."""
        if sequence.kind is SequenceKind.STEM:
            self._fork_continuations(sequence, logits[row])
            return []
        if sequence.kind is SequenceKind.SCORE:
            sequence.group.scores[sequence.choice] = sum(score.logprob for score in sequence.scores)
            self._finish(sequence)
            self._close_if_complete(sequence.group)
            return []
        forks = self._report_prompt(sequence)
        live = [sequence, *forks]
        if sequence.group.sampling.max_tokens == 0:
            for one in live:
                self._emit(one.group, ChoiceFinished(one.choice, FinishReason.LENGTH))
                self._finish(one)
            self._close_if_complete(sequence.group)
            return []
        return [(one, row) for one in live]

    def _report_prompt(self, sequence: Sequence) -> list[Sequence]:
        """The first time a prompt is computed: tell the caller, and start the other choices on its blocks."""
        group = sequence.group
        if not group.is_prompt_reported:
            group.is_prompt_reported = True
            wanted = group.sampling.prompt_logprobs is not None
            scores = (None, *sequence.scores) if wanted else ()
            self._emit(group, PromptProcessed(group.num_cached_tokens or 0, scores))
        forks, sequence.pending_forks = sequence.pending_forks, []
        self._fork(sequence, forks)
        return forks

    def _fork(self, parent: Sequence, children: Many[Sequence]) -> None:
        copies = [self._scheduler.fork(parent, child) for child in children]
        self._runner.zero_blocks(self._scheduler.blocks.take_fresh())
        self._runner.copy_blocks([copy for copy in copies if copy is not None])

    def _fork_continuations(self, stem: Sequence, row: torch.Tensor) -> None:
        """The stem's last row scores each continuation's first token; longer ones go on as forks of the stem."""
        group = stem.group
        request = group.request
        assert isinstance(request, ScoreRequest)
        first_tokens = [continuation[0] for continuation in request.continuations]
        scores = score(row.expand(len(first_tokens), -1), first_tokens, 0)
        forks = []
        for choice, continuation in enumerate(request.continuations):
            if len(continuation) == 1:
                group.scores[choice] = scores[choice].logprob
                continue
            tokens = [*stem.tokens, *continuation]
            fork = Sequence(group, SequenceKind.SCORE, choice, tokens, num_prompt=stem.num_prompt)
            fork.score_from = stem.num_prompt
            fork.scores.append(TokenLogprob(continuation[0], scores[choice].logprob))
            forks.append(fork)
        group.sequences.extend(forks)
        self._fork(stem, forks)
        self._finish(stem)
        self._close_if_complete(group)

    def _append(self, sequence: Sequence, sampled: SampledRow) -> None:
        sequence.tokens.append(sampled.token_id)
        logprobs = sampled.logprobs
        logprob = None if logprobs is None else TokenLogprob(sampled.token_id, logprobs.logprob, logprobs.top)
        reason = _finish_reason(sequence, self._options.eos_token_ids)
        self._emit(sequence.group, TokenEvent(sequence.choice, sampled.token_id, logprob, reason))
        if reason is not None:
            self._finish(sequence)
            self._close_if_complete(sequence.group)

    # --- how sequences and requests end -------------------------------------------------------------------------------

    def _finish(self, sequence: Sequence) -> None:
        sequence.is_finished = True
        self._scheduler.remove(sequence)

    def _abort(self, sequence: Sequence) -> None:
        group = sequence.group
        if sequence.is_unforked:  # it waits for its parent's prompt and is in no queue
            next(parent for parent in group.sequences if sequence in parent.pending_forks).pending_forks.remove(
                sequence
            )
            sequence.is_finished = True
        else:
            heirs, sequence.pending_forks = sequence.pending_forks, []
            self._finish(sequence)
            if heirs:
                heirs[0].pending_forks, heirs[0].score_from = heirs[1:], sequence.score_from
                self._scheduler.add(heirs[0])
        if isinstance(group.request, GenerateRequest):
            self._emit(group, ChoiceFinished(sequence.choice, FinishReason.ABORTED))

    def _close_if_complete(self, group: RequestGroup) -> None:
        if not group.is_complete:
            return
        if isinstance(group.request, GenerateRequest):
            self._close(group, RequestFinished())
        else:
            scores = tuple(value for value in group.scores if value is not None)
            self._close(group, Scored(scores, group.num_cached_tokens or 0))

    def _close(self, group: RequestGroup, terminal: EngineEvent) -> None:
        if self._groups.pop(group.request_id, None) is not None:
            self._emit(group, terminal)

    def _fail(self, group: RequestGroup, cause: BaseException) -> None:
        """End a request with its cause. What it wrote is not to be trusted: its blocks are never found again."""
        for sequence in group.sequences:
            if sequence.is_finished:
                continue
            if not sequence.is_unforked:
                for block in sequence.own_blocks:
                    self._scheduler.blocks.forget(block)
                self._scheduler.remove(sequence)
            sequence.is_finished = True
        self._close(group, RequestFailed(cause))

    def _fail_step(self, plan: StepPlan, error: Exception) -> None:
        self._num_step_failures += 1
        failure = StepFailed("the engine step failed")
        failure.__cause__ = error
        for sequence in plan.chunks:
            if not sequence.is_finished:
                self._fail(sequence.group, failure)
        for entry in plan.loads:
            if not entry.is_loaded and self._scheduler.residency.holds(entry):
                for group in self._leaseholders(entry):
                    self._fail(group, failure)
                self._scheduler.residency.discard(entry)

    def _leaseholders(self, entry: ResidentPrefix) -> list[RequestGroup]:
        return [g for g in list(self._groups.values()) if any(s.lease is entry for s in g.sequences)]

    def _emit(self, group: RequestGroup, event: EngineEvent) -> None:
        group.sink(event)


def _overflow(cause: BaseException) -> BaseException:
    """What a request fails with whose numbers the model cannot compute: the soft prompt's fault, not the server's."""
    if not isinstance(cause, NonFiniteValues):
        return cause
    failure = NumbersOverflow("the soft prompt's values overflow in this base model")
    failure.__cause__ = cause
    return failure


def _chunk(sequence: Sequence, num_tokens: int) -> Chunk:
    start = sequence.num_computed
    logits_from = num_tokens - 1  # the last row is always read: NaN is found in the chunk that makes it
    if sequence.next_score is not None:  # row i predicts token i + 1
        first = max(0, sequence.next_score - 1 - start)
        logits_from = min(logits_from, first)
    tokens = sequence.tokens[start : start + num_tokens]
    return Chunk(tokens, sequence.num_virtual + start, sequence.block_table, logits_from)


def _finish_reason(sequence: Sequence, eos_token_ids: frozenset[int]) -> FinishReason | None:
    sampling = sequence.group.sampling
    token = sequence.tokens[-1]
    if token in sampling.stop_token_ids or (token in eos_token_ids and not sampling.ignore_eos):
        return FinishReason.STOP
    return FinishReason.LENGTH if sequence.num_output >= sampling.max_tokens else None


def _sampling_row(sequence: Sequence, row: int, options: EngineOptions) -> SamplingRow:
    sampling = sequence.group.sampling
    forbidden: frozenset[int] = frozenset()
    if sequence.num_output < sampling.min_tokens:
        forbidden = sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else options.eos_token_ids)
    is_penalised = bool(sampling.presence_penalty or sampling.frequency_penalty or sampling.repetition_penalty != 1.0)
    return SamplingRow(
        row=row,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sequence.group.seed,
        choice=sequence.choice,
        num_output=sequence.num_output,
        num_logprobs=sampling.num_logprobs,
        prompt=sequence.tokens[: sequence.num_prompt] if is_penalised else (),
        output=sequence.tokens[sequence.num_prompt :] if is_penalised else (),
        forbidden=forbidden,
        logit_bias=sampling.logit_bias,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
    )
