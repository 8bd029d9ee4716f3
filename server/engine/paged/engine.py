"""The step loop: schedule, compute, sample, hand out.

Synchronous and single-threaded, as a `StepEngine` is; `AsyncEngine` gives it a thread.
"""

from __future__ import annotations

import logging
import time
from collections import abc
from dataclasses import replace

import torch

from server.engine.client import EngineStats
from server.engine.errors import NumbersOverflow, StepFailed, StructureFailed
from server.engine.events import EventSink, TokenLogprob
from server.engine.paged.encode_group import EncodeGroup
from server.engine.paged.form_rows import FormRows
from server.engine.paged.generate_group import GenerateGroup
from server.engine.paged.holders import read_usage
from server.engine.paged.open_requests import OpenRequests
from server.engine.paged.options import EngineOptions
from server.engine.paged.scheduler import Scheduler
from server.engine.paged.score_group import ScoreGroup
from server.engine.paged.sequence import RequestGroup, Sequence
from server.engine.paged.step_plan import StepPlan
from server.engine.paged.step_rows import StepRows, plan_rows
from server.engine.request import Encode, Generate, Kind, Request, Score
from server.engine.thread.lanes import LaneTurns
from server.engine.usage import EngineUsage
from server.model.errors import NonFiniteValues
from server.model.hidden_rows import all_finite
from server.model.memory_guard import MemoryGuard
from server.model.runner import PrefixPlacement, Runner
from server.model.sampling.readout import Readout, RowLogprobs, Scoring, Wanted, read
from server.soft_prompts.residency import ResidentPrefix
from server.structured_outputs.errors import MatcherFailed

logger = logging.getLogger(__name__)


class Engine:
    """All requests over one runner. The schedulers and `requests` are its parts, to be read between steps."""

    def __init__(
        self, runner: Runner, options: EngineOptions, clock: abc.Callable[[], float] = time.perf_counter
    ) -> None:
        self._runner = MemoryGuard(runner)
        self._options = options
        self.batch_scheduler = Scheduler(options)
        self.scheduler = Scheduler(options, lower=self.batch_scheduler)
        self.requests = OpenRequests(self.scheduler, self.batch_scheduler, self._runner)
        self.forms = FormRows(self._fail_structure)
        self._turns = LaneTurns(options.batch_share, clock)
        self._num_batch_steps = 0
        self._num_arrivals = 0
        self._num_steps = 0
        self._num_step_tokens = 0
        self._num_last_sequences = 0
        self._num_last_tokens = 0
        self._num_prompt_tokens = 0
        self._num_generated_tokens = 0
        self._num_step_failures = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self.scheduler.has_work or self.batch_scheduler.has_work

    @property
    def stats(self) -> EngineStats:
        """A snapshot between steps."""
        scheduler, batch = self.scheduler, self.batch_scheduler
        return EngineStats(
            num_waiting=scheduler.num_waiting,
            num_running=scheduler.num_running,
            num_blocks=scheduler.blocks.num_blocks,
            num_free_blocks=scheduler.blocks.num_free,
            num_resident_prefixes=scheduler.residency.num_resident,
            num_leases=scheduler.residency.num_leases,
            num_steps=self._num_steps,
            num_preemptions=scheduler.num_preemptions + batch.num_preemptions,
            num_prefix_loads=scheduler.residency.num_loads,
            num_prefix_evictions=scheduler.residency.num_evictions,
            num_prefix_blocks=scheduler.residency.num_blocks,
            num_step_tokens=self._num_step_tokens,
            num_step_failures=self._num_step_failures,
            num_out_of_memory=self._runner.num_out_of_memory,
            num_last_sequences=self._num_last_sequences,
            num_last_tokens=self._num_last_tokens,
            num_prompt_tokens=self._num_prompt_tokens,
            num_cached_tokens=scheduler.num_cached_tokens + batch.num_cached_tokens,
            num_generated_tokens=self._num_generated_tokens,
            num_finished=self.requests.num_finished,
            num_aborted=self.requests.num_aborted,
            num_failed=self.requests.num_failed,
            num_batch_waiting=batch.num_waiting,
            num_batch_running=batch.num_running,
            num_batch_steps=self._num_batch_steps,
            form_holds=self.forms.holds,
        )

    def read_usage(self) -> EngineUsage:
        """See `StepEngine`."""
        return read_usage(self.scheduler, self.batch_scheduler)

    def add(self, request: Request[Kind], sink: EventSink) -> None:
        """Accept a request that passed `check_request`; its events go to `sink`, in order."""
        self.requests.add(self._group(request, sink))
        self._num_arrivals += 1

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """End a request, or one of its choices. See `OpenRequests.abort`."""
        self.requests.abort(request_id, choice)

    def step(self) -> None:
        """Compute one batch. A failure ends the requests in it, with its cause, and nothing else.

        While every sequence waits for its mask, it waits for one of them, and computes nothing.

        Raises the device's error if the device is unusable for the rest of the process.
        """
        is_batch = self._turns.begin(has_live=self.scheduler.has_work, has_batch=self.batch_scheduler.has_work)
        self._num_batch_steps += is_batch
        try:
            plan = (self.batch_scheduler if is_batch else self.scheduler).schedule()
            if plan.chunks or plan.loads:
                self._compute(plan)
            else:
                self.forms.wait()
        finally:
            self._turns.end()

    def check_device(self) -> None:
        """Raise the device's error if the device is unusable for the rest of the process; called after a failure."""
        self._runner.check_device()

    def _compute(self, plan: StepPlan) -> None:
        self._num_steps += 1
        self._num_last_sequences, self._num_last_tokens = len(plan.chunks), plan.num_tokens
        self._num_step_tokens += plan.num_tokens
        try:
            self._runner.zero_blocks(self.scheduler.blocks.take_fresh())
            self._load_prefixes(plan.loads)
            runnable = {sequence: count for sequence, count in plan.chunks.items() if not sequence.is_finished}
            self._runner.copy_blocks([copy for sequence, copy in plan.copies.items() if sequence in runnable])
            if runnable:
                plans = plan_rows(runnable)
                began = time.perf_counter()
                logits = self._runner.forward([plan.chunk for plan in plans])
                self._hand_out(plans, logits, time.perf_counter() - began)
        except Exception as error:  # the step loop is where any failure of a batch becomes its requests' failure
            logger.exception("a step failed; its requests fail with it")
            self._fail_step(plan, error)
            self.check_device()

    def _group(self, request: Request[Kind], sink: EventSink) -> RequestGroup:
        match request.kind:
            case Generate() as generate:
                eos_token_ids = self._options.eos_token_ids
                return GenerateGroup(request, generate, sink, self._num_arrivals, eos_token_ids, self._options.decoding)
            case Score() as score:
                return ScoreGroup(request, score, sink, self._num_arrivals, self._options.decoding)
            case Encode() as encode:
                return EncodeGroup(request, encode, sink, self._num_arrivals)

    # --- the parts of a step ------------------------------------------------------------------------------------------

    def _load_prefixes(self, loads: abc.Sequence[ResidentPrefix]) -> None:
        if not loads:
            return
        failures = self._runner.load_prefixes([PrefixPlacement(entry.prefix, entry.blocks) for entry in loads])
        for entry, failure in zip(loads, failures, strict=True):
            if failure is None:
                self.scheduler.residency.mark_loaded(entry)
            else:
                self.requests.fail_leaseholders(entry, _overflow(failure))
                self.scheduler.residency.discard(entry)

    def _hand_out(self, plans: abc.Sequence[StepRows], logits: torch.Tensor, step_s: float) -> None:
        """Turn logits into scores and tokens. The device is read once: nothing is asked of it in between.

        Tokens that an answer's form does not allow are forbidden first. The masks of the next step are begun last. Of
        a sequence that sits out, the last token counts as not computed.

        All rows are checked before any group goes on: NaN in one choice ends its request, earlier choices included.
        """
        late = self.forms.forbid(plans, logits, step_s)
        readouts = read(logits, [_without_samplings(plan) if plan.sequence in late else plan.wanted for plan in plans])
        finite_hidden = all_finite([plan.chunk.hidden for plan in plans])
        computed: list[tuple[Sequence, Readout]] = []
        for plan, readout, is_finite in zip(plans, readouts, finite_hidden, strict=True):
            sequence = plan.sequence
            if sequence.is_finished:  # a sibling in this very batch has failed the request
                continue
            if not (readout.is_finite and is_finite):
                overflow = NonFiniteValues("the logits or hidden states hold NaN or infinity")
                self.requests.fail(sequence.group, _overflow(overflow))
                continue
            num_tokens = plan.chunk.num_tokens - (sequence in late)
            num_given_left = max(0, sequence.num_given - sequence.num_computed)
            self._num_prompt_tokens += min(num_tokens, num_given_left) + plan.num_encoder_text_tokens
            self.scheduler.commit(sequence, num_tokens)
            if plan.chunk.hidden is not None:
                sequence.keep_hidden(plan.chunk.hidden)
            if sequence.score_from is not None:
                sequence.scores.extend(_token_logprobs(plan.wanted.scoring, readout.scores))
            if sequence.num_remaining == 0:
                computed.append((sequence, readout))
        for sequence, readout in computed:
            if not sequence.is_finished:
                self._num_generated_tokens += len(readout.sampled)
                self._advance(sequence, readout)
        self.forms.begin_masks(sequence for sequence, _ in computed)

    def _advance(self, sequence: Sequence, readout: Readout) -> None:
        try:
            sequence.group.advance(sequence, readout, self.requests)
        except MatcherFailed as error:
            self._fail_structure(sequence.group, error)

    def _fail_structure(self, group: RequestGroup, cause: MatcherFailed) -> None:
        failure = StructureFailed(str(cause))
        failure.__cause__ = cause
        self.requests.fail(group, failure)

    def _fail_step(self, plan: StepPlan, error: Exception) -> None:
        self._num_step_failures += 1
        failure = StepFailed("the engine step failed")
        failure.__cause__ = error
        for sequence in plan.chunks:
            if not sequence.is_finished:
                self.requests.fail(sequence.group, failure)
        for entry in plan.loads:
            if not entry.is_loaded and self.scheduler.residency.holds(entry):
                self.requests.fail_leaseholders(entry, failure)
                self.scheduler.residency.discard(entry)


def _overflow(cause: BaseException) -> BaseException:
    """The failure of a request whose numbers the model cannot compute: the soft prompt's fault, not the server's."""
    if not isinstance(cause, NonFiniteValues):
        return cause
    failure = NumbersOverflow("the soft prompt's values overflow in this base model")
    failure.__cause__ = cause
    return failure


def _without_samplings(plan: StepRows) -> Wanted:
    return replace(plan.wanted, samplings=())


def _token_logprobs(scoring: Scoring | None, scores: abc.Sequence[RowLogprobs]) -> list[TokenLogprob]:
    tokens = () if scoring is None else scoring.tokens
    return [TokenLogprob(token, score.logprob, score.top) for token, score in zip(tokens, scores, strict=True)]
