"""The step loop of an encoder: take a batch, compute hidden states, apply each request's head, hand out.

Synchronous and single-threaded, as a `StepEngine` is; `AsyncEngine` gives it a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from server.engine.client import EngineStats
from server.engine.encoder.open_request import OpenRequest
from server.engine.encoder.options import EncoderOptions
from server.engine.encoder.scheduler import EncoderScheduler
from server.engine.errors import NumbersOverflow, StepFailed
from server.engine.events import Encoded, EngineEvent, EventSink, RequestFailed, RequestFinished
from server.engine.request import Kind, Request
from server.engine.thread.lanes import LaneTurns
from server.engine.usage import EngineUsage, TaskUsage
from server.model.encoder.runner import Encoder
from server.model.errors import NonFiniteValues

logger = logging.getLogger(__name__)

_Computed = torch.Tensor | Exception


class EncoderEngine:
    """All requests over one encoder."""

    def __init__(self, runner: Encoder, options: EncoderOptions) -> None:
        self._runner = runner
        self._scheduler = EncoderScheduler(options)
        self._batch_scheduler = EncoderScheduler(options)
        self._turns = LaneTurns(options.batch_share)
        self._num_batch_steps = 0
        self._open: dict[str, OpenRequest] = {}
        self._num_arrivals = 0
        self._num_steps = 0
        self._num_step_tokens = 0
        self._num_last_sequences = 0
        self._num_last_tokens = 0
        self._num_prompt_tokens = 0
        self._num_step_failures = 0
        self._num_out_of_memory = 0
        self._num_finished = 0
        self._num_aborted = 0
        self._num_failed = 0

    @property
    def has_work(self) -> bool:
        """See `StepEngine`."""
        return bool(self._scheduler.waiting or self._batch_scheduler.waiting)

    @property
    def stats(self) -> EngineStats:
        """See `StepEngine`. There are no KV blocks; the resident prefixes are those on the device."""
        return EngineStats(
            num_waiting=len(self._scheduler.waiting),
            num_running=0,
            num_blocks=0,
            num_free_blocks=0,
            num_resident_prefixes=len(self._runner.prefixes),
            num_leases=0,
            num_steps=self._num_steps,
            num_preemptions=0,
            num_prefix_loads=self._runner.prefixes.num_loads,
            num_prefix_evictions=self._runner.prefixes.num_evictions,
            num_step_tokens=self._num_step_tokens,
            num_step_failures=self._num_step_failures,
            num_out_of_memory=self._num_out_of_memory,
            num_last_sequences=self._num_last_sequences,
            num_last_tokens=self._num_last_tokens,
            num_prompt_tokens=self._num_prompt_tokens,
            num_finished=self._num_finished,
            num_aborted=self._num_aborted,
            num_failed=self._num_failed,
            num_batch_waiting=len(self._batch_scheduler.waiting),
            num_batch_steps=self._num_batch_steps,
        )

    def read_usage(self) -> EngineUsage:
        """See `StepEngine`."""
        waiting, batch = self._scheduler.waiting.lengths(), self._batch_scheduler.waiting.lengths()
        both = {task: [lane[task] for lane in (waiting, batch) if task in lane] for task in {**waiting, **batch}}
        tasks = tuple(
            TaskUsage(task, num_waiting=sum(number for number, _ in lanes), oldest_arrival=min(age for _, age in lanes))
            for task, lanes in both.items()
        )
        return EngineUsage(tasks, prefixes=(), num_blocks=0, num_cached_blocks=0, num_empty_blocks=0)

    def add(self, request: Request[Kind], sink: EventSink) -> None:
        """See `StepEngine`."""
        opened = OpenRequest(request, sink, self._num_arrivals)
        self._num_arrivals += 1
        self._open[opened.request_id] = opened
        self._scheduler_of(opened).add(opened)

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """See `StepEngine`. A request has no choices: only the whole can end."""
        request = self._open.get(request_id)
        if request is None or choice is not None:
            return
        self._scheduler_of(request).remove(request)
        self._num_aborted += 1
        self._end(request, RequestFinished())

    def step(self) -> None:
        """See `StepEngine`. A failure ends the requests of the batch, or of one alone where it is that one's."""
        is_batch = self._turns.begin(
            has_live=bool(self._scheduler.waiting), has_batch=bool(self._batch_scheduler.waiting)
        )
        self._num_batch_steps += is_batch
        try:
            self._compute((self._batch_scheduler if is_batch else self._scheduler).take_batch())
        finally:
            self._turns.end()

    def check_device(self) -> None:
        """See `StepEngine`."""
        self._runner.check_device()

    # --- the parts of a step ------------------------------------------------------------------------------------------

    def _scheduler_of(self, request: OpenRequest) -> EncoderScheduler:
        return self._batch_scheduler if request.is_batch else self._scheduler

    def _compute(self, batch: Sequence[OpenRequest]) -> None:
        self._num_steps += 1
        self._num_last_sequences = len(batch)
        self._num_last_tokens = sum(request.input.num_rows for request in batch)
        self._num_step_tokens += self._num_last_tokens
        try:
            self._hand_out(batch, self._read([self._apply(*pair) for pair in self._forward(batch)]))
        except Exception as error:  # the step loop is where any failure of a batch becomes its requests' failure
            logger.exception("a step failed; its requests fail with it")
            self._num_step_failures += 1
            for request in batch:
                if request.request_id in self._open:
                    self._fail(request, error)
            self.check_device()

    def _forward(self, batch: Sequence[OpenRequest]) -> list[tuple[OpenRequest, _Computed]]:
        """The hidden states of each request, in halves where the device is out of memory; the error of a single one."""
        try:
            return list(zip(batch, self._runner.forward([request.input for request in batch]), strict=True))
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                return [(batch[0], error)]
        # Outside the handler: the exception's frames would hold the tensors of the failed try.
        self._num_out_of_memory += 1
        half = len(batch) // 2
        logger.warning("the device is out of memory: a batch of %d requests is computed in halves", len(batch))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [*self._forward(batch[:half]), *self._forward(batch[half:])]

    def _apply(self, request: OpenRequest, states: _Computed) -> _Computed:
        """A request's head on its hidden states; an error is its own."""
        if isinstance(states, Exception):
            return states
        try:
            return request.head(states, request.input.num_virtual_rows)
        except Exception as error:  # a head is transformers' code over a checkpoint's parameters: it may raise anything
            logger.exception("a head failed; its request fails with it")
            return error

    def _read(self, computed: Sequence[_Computed]) -> list[_Computed]:
        """The same in main memory. The device is read once."""
        tensors = [values.float() for values in computed if isinstance(values, torch.Tensor)]
        if not tensors:
            return list(computed)
        flat = torch.cat([values.flatten() for values in tensors]).cpu()
        parts = iter(torch.split(flat, [values.numel() for values in tensors]))
        return [
            next(parts).reshape(values.shape) if isinstance(values, torch.Tensor) else values for values in computed
        ]

    def _hand_out(self, batch: Sequence[OpenRequest], computed: Sequence[_Computed]) -> None:
        for request, values in zip(batch, computed, strict=True):
            if isinstance(values, Exception):
                self._fail(request, values)
            elif not bool(torch.isfinite(values).all()):
                overflow = NumbersOverflow("the values of the soft prompt, or of its head, overflow in this base model")
                overflow.__cause__ = NonFiniteValues("the hidden states or the head's numbers hold NaN or infinity")
                self._num_failed += 1
                self._end(request, RequestFailed(overflow))
            else:
                self._num_prompt_tokens += len(request.input.token_ids)
                self._num_finished += 1
                self._end(request, Encoded(values.numpy(), num_cached_tokens=0))

    def _fail(self, request: OpenRequest, error: Exception) -> None:
        failure = StepFailed("the engine step failed")
        failure.__cause__ = error
        self._num_failed += 1
        self._end(request, RequestFailed(failure))

    def _end(self, request: OpenRequest, terminal: EngineEvent) -> None:
        del self._open[request.request_id]
        request.emit(terminal)
