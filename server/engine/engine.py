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
from server.engine.step_rows import StepRows, plan_rows
from server.model.errors import NonFiniteValues
from server.model.memory_guard import MemoryGuard
from server.model.runner import PrefixPlacement, Runner
from server.model.sampling.readout import Readout, RowLogprobs, SampledRow, Scoring, read
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
        """Compute one batch. A failure ends the requests in it, with its cause, and nothing else.

        Raises what the device says where it can compute nothing any more.
        """
        plan = self._scheduler.schedule()
        self._num_steps += 1
        self._num_step_tokens += plan.num_tokens
        try:
            self._runner.zero_blocks(self._scheduler.blocks.take_fresh())
            self._load_prefixes(plan.loads)
            runnable = {sequence: count for sequence, count in plan.chunks.items() if not sequence.is_finished}
            self._runner.copy_blocks([copy for sequence, copy in plan.copies.items() if sequence in runnable])
            if runnable:
                plans = plan_rows(runnable, self._options)
                self._hand_out(plans, self._runner.forward([plan.chunk for plan in plans]))
        except Exception as error:  # the step loop is where any failure of a batch becomes its requests' failure
            logger.exception("a step failed; its requests fail with it")
            self._fail_step(plan, error)
            self.check_device()

    def check_device(self) -> None:
        """Raise what the device says where it can compute nothing any more; to be asked after a failure."""
        self._runner.check_device()

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

    def _hand_out(self, plans: Many[StepRows], logits: torch.Tensor) -> None:
        """Turn logits into scores and tokens. The device is read once: nothing is asked of it in between."""
        readouts = read(logits, [plan.wanted for plan in plans])
        sampled: list[tuple[Sequence, SampledRow]] = []
        for plan, readout in zip(plans, readouts, strict=True):
            sequence = plan.sequence
            if sequence.is_finished:  # a sibling in this very batch has failed the request
                continue
            if not readout.is_finite:
                self._fail(sequence.group, _overflow(NonFiniteValues("the logits hold NaN or infinity")))
                continue
            self._scheduler.commit(sequence, plan.chunk.num_tokens)
            if sequence.kind is not SequenceKind.STEM:
                sequence.scores.extend(_token_logprobs(plan.wanted.scoring, readout.scores))
            if sequence.num_remaining == 0:
                sampled.extend(self._advance(sequence, readout))
        for sequence, row in sampled:
            # A sibling later in the batch may have failed the request of a sequence that came before it.
            if not sequence.is_finished:
                self._append(sequence, row)

    def _advance(self, sequence: Sequence, readout: Readout) -> list[tuple[Sequence, SampledRow]]:
        """Everything known of a sequence is computed; returns whose tokens come next."""
        if sequence.kind is SequenceKind.STEM:
            self._fork_continuations(sequence, readout.scores)
            return []
        if sequence.kind is SequenceKind.SCORE:
            sequence.group.scores[sequence.choice] = sum(score.logprob for score in sequence.scores)
            self._finish(sequence)
            self._close_if_complete(sequence.group)
            return []
        live = [sequence, *self._report_prompt(sequence)]
        if sequence.group.sampling.max_tokens == 0:
            for one in live:
                self._emit(one.group, ChoiceFinished(one.choice, FinishReason.LENGTH))
                self._finish(one)
            self._close_if_complete(sequence.group)
            return []
        return list(zip(live, readout.sampled, strict=True))

    def _report_prompt(self, sequence: Sequence) -> list[Sequence]:
        """The first time a prompt is computed: tell the caller, and start the other choices on its blocks."""
        group = sequence.group
        if not group.is_prompt_reported:
            group.is_prompt_reported = True
            wanted = group.sampling.prompt_logprobs is not None
            scores = (None, *sequence.scores) if wanted else ()
            self._emit(group, PromptProcessed(group.num_cached_tokens or 0, scores))
        forks, sequence.pending_forks = sequence.pending_forks, []
        if forks:
            self._fork(sequence, forks)
        return forks

    def _fork(self, parent: Sequence, children: Many[Sequence]) -> None:
        copies = [self._scheduler.fork(parent, child) for child in children]
        self._runner.zero_blocks(self._scheduler.blocks.take_fresh())
        self._runner.copy_blocks([copy for copy in copies if copy is not None])

    def _fork_continuations(self, stem: Sequence, scores: Many[RowLogprobs]) -> None:
        """The stem's last row has scored each continuation's first token; longer ones go on as forks of the stem."""
        group = stem.group
        request = group.request
        assert isinstance(request, ScoreRequest)
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


def _token_logprobs(scoring: Scoring | None, scores: Many[RowLogprobs]) -> list[TokenLogprob]:
    tokens = () if scoring is None else scoring.tokens
    return [TokenLogprob(token, score.logprob, score.top) for token, score in zip(tokens, scores, strict=True)]


def _finish_reason(sequence: Sequence, eos_token_ids: frozenset[int]) -> FinishReason | None:
    sampling = sequence.group.sampling
    token = sequence.tokens[-1]
    if token in sampling.stop_token_ids or (token in eos_token_ids and not sampling.ignore_eos):
        return FinishReason.STOP
    return FinishReason.LENGTH if sequence.num_output >= sampling.max_tokens else None
