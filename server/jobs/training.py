"""Train one job in pieces: its events, its progress, and its checkpoints."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from prompts_store.errors import StoreUnavailable
from prompts_store.tuning_records import JobClaim, JobProgress, NewEvent
from prompts_store.tuning_store import TuningStore
from server.engine.client import PieceRunner
from server.jobs.claim_heartbeat import ClaimHeartbeat
from server.jobs.event_texts import run_event
from server.threads import Threads
from server.tuning.events import Extended, StepDone, TuningEvent, Validated
from server.tuning.job import TuningJob, TuningResult

_MAX_SAVE_SHARE = 0.05
_MAX_INTERVALS = 20
_log = logging.getLogger(__name__)


class Run(Protocol):
    """Interface of `TuningRun`, so that a fake can replace it. All of it belongs to the engine's thread."""

    @property
    def is_done(self) -> bool: ...  # noqa: D102 - see TuningRun
    @property
    def step(self) -> int: ...  # noqa: D102 - see TuningRun
    @property
    def num_steps(self) -> int: ...  # noqa: D102 - see TuningRun
    def advance(self) -> tuple[TuningEvent, ...]: ...  # noqa: D102 - see TuningRun
    def checkpoint(self) -> bytes: ...  # noqa: D102 - see TuningRun
    def result(self) -> TuningResult: ...  # noqa: D102 - see TuningRun


BuildRun = Callable[[TuningJob, bytes | None], Run]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between the heartbeats of a job, and between its checkpoints."""

    heartbeat_s: float = 1.0
    checkpoint_s: float = 30.0


@dataclass(slots=True)
class TrainingTotals:
    """Optimiser steps, and seconds on the engine's thread, of all runs since this server started."""

    num_steps: int = 0
    busy_s: float = 0.0


class Training:
    """Runs a job to its end, one piece after another. Belongs to the event loop."""

    def __init__(
        self,
        store: TuningStore,
        claim: JobClaim,
        pieces: PieceRunner,
        heartbeat: ClaimHeartbeat,
        checkpoint_s: float,
        totals: TrainingTotals,
        threads: Threads,
    ) -> None:
        self._store = store
        self._claim = claim
        self._pieces = pieces
        self._heartbeat = heartbeat
        self._checkpoint_s = checkpoint_s
        self._totals = totals
        self._threads = threads
        self._run: Run | None = None
        self._piece: asyncio.Future[_TimedPiece] | None = None
        self._metrics: dict[str, Any] = {}
        self.num_tokens = 0
        self.step = 0
        self.num_steps = 0

    async def train(self, build: BuildRun, job: TuningJob) -> TuningResult:
        """Train from the last checkpoint, or from the start, and return the result.

        Raises ClaimLost, StoreError, and what the run raises.
        """
        state = await self._threads.run(self._load)
        self._run = run = await self._threads.run(build, job, state)
        self.step, self.num_steps = run.step, run.num_steps
        if state is not None:
            del state  # up to a gigabyte, otherwise in memory for the whole run
            if run.step or job.distillation is None:  # a distillation's state begins with its answers
                self._heartbeat.queue([NewEvent(f"The job goes on from its checkpoint at step {run.step}.")])
        began, first_step = time.monotonic(), run.step
        save_at = began + self._checkpoint_s
        while not run.is_done:
            await self._advance(run)
            self._heartbeat.progress = JobProgress(self.num_tokens, _estimate(run, began, first_step))
            self._heartbeat.check()
            if (now := time.monotonic()) > save_at:
                await self.save()
                took_s = time.monotonic() - now
                save_at = now + took_s + pause_after(took_s, self._checkpoint_s)
        await self.save()
        return await self._pieces.between_steps(run.result)

    async def save(self) -> None:
        """Save a checkpoint with all events before it, so that a resumed job repeats none.

        Without a run this does nothing. If the store cannot be reached, a warning is queued and the job continues.
        Raises ClaimLost.
        """
        if self._run is None:
            return
        await self._finish_piece()
        state = await self._pieces.between_steps(self._run.checkpoint)
        metrics = {**self._metrics, "trained_tokens": self.num_tokens}
        try:
            async with self._heartbeat.queued_events() as events:
                await self._threads.run(
                    self._store.save_checkpoint, self._claim, self._run.step, metrics, state, events
                )
        except StoreUnavailable as error:
            _log.warning("a checkpoint of tuning job %d cannot be saved now: %s", self._claim.job_id, error)
            self._heartbeat.queue([NewEvent(f"A checkpoint could not be saved: {error}", level="warn")])

    async def _advance(self, run: Run) -> None:
        """Run one piece. Cancelling does not stop it; `save` waits for its events."""
        self._piece = asyncio.ensure_future(self._pieces.between_steps(partial(_timed, run)))
        await asyncio.shield(self._piece)
        await self._finish_piece()

    async def _finish_piece(self) -> None:
        if self._piece is not None:
            future, self._piece = self._piece, None
            piece = await future
            self._totals.busy_s += piece.took_s
            self._record(piece.events)

    def _load(self) -> bytes | None:
        state = self._store.load_checkpoint(self._claim)
        if state is not None:
            self._metrics = dict(self._store.latest_metrics(self._claim))
            self.num_tokens = self._metrics.pop("trained_tokens", 0)
        return state

    def _record(self, events: Sequence[TuningEvent]) -> None:
        for event in events:
            match event:
                case StepDone():
                    self.num_tokens += event.num_tokens
                    self.step, self.num_steps = event.step, event.num_steps
                    self._totals.num_steps += 1
                    self._metrics |= {"step": event.step, "train_loss": event.loss}
                case Extended():
                    self.num_steps = event.num_steps
                case Validated():
                    accuracy = event.token_accuracy
                    self._metrics |= {"valid_loss": event.loss, "valid_mean_token_accuracy": accuracy}
        self._heartbeat.queue([run_event(event) for event in events])


def pause_after(took_s: float, interval_s: float) -> float:
    """Seconds between a save that took `took_s` and the next one.

    A large state holds the database's write lock for seconds. So saving takes at most a twentieth of the time, but the
    pause is at most twenty intervals.
    """
    return max(interval_s, min(_MAX_INTERVALS * interval_s, took_s / _MAX_SAVE_SHARE))


@dataclass(frozen=True, slots=True)
class _TimedPiece:
    """Events of a piece, and the seconds that it took on the engine's thread."""

    events: tuple[TuningEvent, ...]
    took_s: float


def _timed(run: Run) -> _TimedPiece:
    began = time.perf_counter()
    events = run.advance()
    return _TimedPiece(events, time.perf_counter() - began)


def _estimate(run: Run, began: float, first_step: int) -> datetime | None:
    """Time of the run's end, at the mean speed since this server began or resumed it."""
    if run.step <= first_step:
        return None
    left_s = (time.monotonic() - began) / (run.step - first_step) * (run.num_steps - run.step)
    return datetime.now(UTC) + timedelta(seconds=left_s)
