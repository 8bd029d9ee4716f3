"""One run in pieces: its heartbeat, its events, and the checkpoints that it goes on from."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from prompts_store.errors import StoreError, StoreUnavailable
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import JobClaim, JobProgress, NewEvent
from prompts_store.tuning_store import TuningStore
from server.background_task import background_task
from server.engine.background import PieceRunner
from server.jobs.tally import Tally
from server.threads import Threads
from server.tuning.events import (
    Finished,
    RateChosen,
    RateTried,
    StepDone,
    TuningEvent,
    Validated,
    Warned,
    event_to_json,
)
from server.tuning.run import TuningJob, TuningResult

_SAVE_SHARE, _MAX_INTERVALS = 0.05, 20
_log = logging.getLogger(__name__)


class Run(Protocol):
    """`TuningRun`'s contract, which a fake can keep. All of it belongs to the engine's thread."""

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
class Pace:
    """How often, in seconds, a job's server says that it lives and tells what happened, and saves a checkpoint."""

    beat_interval_s: float = 1.0
    checkpoint_interval_s: float = 30.0


class Heart:
    """Beats for a job while the context `beating` is open, and carries its events to the store.

    Once the job is not this server's any more, `check` raises ClaimLost. While the store is away the job goes on, and
    what there is to tell is kept.
    """

    def __init__(self, store: TuningStore, claim: JobClaim, interval_s: float) -> None:
        self._store = store
        self._claim = claim
        self._interval_s = interval_s
        self._untold: list[NewEvent] = []
        self._one_writer = asyncio.Lock()
        self._lost: ClaimLost | None = None
        self._soon = asyncio.Event()
        self._threads = Threads("tuning-heart", 1)
        self.progress: JobProgress | None = None

    def tell(self, events: Sequence[NewEvent]) -> None:
        """Let events go out with the next beat."""
        self._untold += events

    def beat_soon(self) -> None:
        """Beat at once: something may have been done to the job."""
        self._soon.set()

    def check(self) -> None:
        """Raise ClaimLost if the job is known to be lost."""
        if self._lost is not None:
            raise self._lost

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[tuple[NewEvent, ...]]:
        """What no write has carried yet, for one that carries it; if the store refuses that, the next one does.

        One at a time, so that a beat in flight reaches the store before whatever ends the job. What cannot be written
        at all is dropped, or no later write could pass either.
        """
        async with self._one_writer:
            events, self._untold = tuple(self._untold), []
            try:
                yield events
            except (StoreError, asyncio.CancelledError):  # told twice, at worst, rather than not at all
                self._untold[:0] = events
                raise
            except Exception:
                _log.error("%d events of tuning job %d cannot be written", len(events), self._claim.job_id)
                raise

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat in the background while the context is open."""
        try:
            async with background_task(self._beat(), "tuning-heart"):
                yield
        finally:
            self._threads.close()

    async def _beat(self) -> None:
        while self._lost is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._soon.wait()
            self._soon.clear()
            try:
                async with self.telling() as events:
                    await self._threads.run(self._store.beat, self._claim, events, self.progress)
            except ClaimLost as error:
                self._lost = error
            except StoreUnavailable:
                _log.warning("the store cannot be reached; tuning job %d goes on", self._claim.job_id)
            except Exception:  # without beats, a job that goes on well would be taken over
                _log.exception("a beat of tuning job %d failed", self._claim.job_id)


class Training:
    """Takes a run to its end, one piece after another."""

    def __init__(
        self,
        store: TuningStore,
        claim: JobClaim,
        pieces: PieceRunner,
        heart: Heart,
        pace: Pace,
        tally: Tally,
        threads: Threads,
    ) -> None:
        self._store = store
        self._claim = claim
        self._pieces = pieces
        self._heart = heart
        self._pace = pace
        self._tally = tally
        self._threads = threads
        self._run: Run | None = None
        self._piece: asyncio.Future[_Piece] | None = None
        self._metrics: dict[str, Any] = {}
        self.num_tokens = 0
        self.step = 0
        self.num_steps = 0

    async def train(self, build: BuildRun, job: TuningJob) -> TuningResult:
        """Begin, or go on from the last checkpoint; the result. Raises ClaimLost, and what the run raises."""
        state = await self._threads.run(self._load)
        self._run = run = await self._threads.run(build, job, state)
        self.step, self.num_steps = run.step, run.num_steps
        if state is not None:
            del state  # up to a gigabyte, for as long as the run takes
            self._heart.tell([NewEvent(f"The job goes on from its checkpoint at step {run.step}.")])
        began, first = time.monotonic(), run.step
        save_at = began + self._pace.checkpoint_interval_s
        while not run.is_done:
            await self._advance(run)
            self._heart.progress = JobProgress(self.num_tokens, _estimate(run, began, first))
            self._heart.check()
            if (now := time.monotonic()) > save_at:
                await self.save()
                took_s = time.monotonic() - now
                save_at = now + took_s + pause_after(took_s, self._pace.checkpoint_interval_s)
        await self.save()
        return await self._pieces.between_steps(run.result)

    async def save(self) -> None:
        """Save a checkpoint, if there is a run, and all that was told up to it: who goes on from it begins behind that.

        Without the store, the next one will do. Raises ClaimLost.
        """
        if self._run is None:
            return
        await self._finish_piece()
        state = await self._pieces.between_steps(self._run.checkpoint)
        metrics = {**self._metrics, "trained_tokens": self.num_tokens}
        try:
            async with self._heart.telling() as events:
                await self._threads.run(
                    self._store.save_checkpoint, self._claim, self._run.step, metrics, state, events
                )
        except StoreUnavailable as error:
            _log.warning("a checkpoint of tuning job %d cannot be saved now: %s", self._claim.job_id, error)
            self._heart.tell([NewEvent(f"A checkpoint could not be saved: {error}", level="warn")])

    async def _advance(self, run: Run) -> None:
        """One piece. Who is cancelled here leaves it to end on its own; `save` waits for what it has to tell."""
        self._piece = asyncio.ensure_future(self._pieces.between_steps(partial(_timed, run)))
        await asyncio.shield(self._piece)
        await self._finish_piece()

    async def _finish_piece(self) -> None:
        if self._piece is not None:
            future, self._piece = self._piece, None
            piece = await future
            self._tally.busy_s += piece.took_s
            self._note(piece.events)

    def _load(self) -> bytes | None:
        state = self._store.load_checkpoint(self._claim)
        if state is not None:
            self._metrics = dict(self._store.latest_metrics(self._claim))
            self.num_tokens = self._metrics.pop("trained_tokens", 0)
        return state

    def _note(self, events: Sequence[TuningEvent]) -> None:
        for event in events:
            match event:
                case StepDone():
                    self.num_tokens += event.num_tokens
                    self.step, self.num_steps = event.step, event.num_steps
                    self._tally.num_steps += 1
                    self._metrics |= {"step": event.step, "train_loss": event.loss}
                case Validated():
                    accuracy = event.token_accuracy
                    self._metrics |= {"valid_loss": event.loss, "valid_mean_token_accuracy": accuracy}
        self._heart.tell([new_event(event) for event in events])


def pause_after(took_s: float, interval_s: float) -> float:
    """Seconds from a save that took this long to the next one.

    A large state holds the database's write lock for seconds. So saving takes a twentieth of the time at most, unless
    the next save would come later than after twenty intervals.
    """
    return max(interval_s, min(_MAX_INTERVALS * interval_s, took_s / _SAVE_SHARE))


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a piece told, and how long it held the engine's thread."""

    events: tuple[TuningEvent, ...]
    took_s: float


def _timed(run: Run) -> _Piece:
    began = time.perf_counter()
    events = run.advance()
    return _Piece(events, time.perf_counter() - began)


def _estimate(run: Run, began: float, first_step: int) -> datetime | None:
    """When the run will end if it goes on as since this server began with it."""
    if run.step <= first_step:
        return None
    left_s = (time.monotonic() - began) / (run.step - first_step) * (run.num_steps - run.step)
    return datetime.now(UTC) + timedelta(seconds=left_s)


def new_event(event: TuningEvent) -> NewEvent:
    """A run's event as the job's log keeps it: a sentence for people, and the numbers."""
    match event:
        case StepDone():
            text = f"Step {event.step}/{event.num_steps}: loss {event.loss:.4f}"
        case Validated():
            text = f"Validation after step {event.step}: loss {event.loss:.4f}, exact match {event.exact_match:.3f}"
        case Warned():
            return NewEvent(event.message, level="warn", data=event_to_json(event))
        case RateTried():
            found = "it diverges" if event.loss is None else f"loss {event.loss:.4f}"
            text = f"Learning rate {event.learning_rate:.3g} tried: {found}"
        case RateChosen():
            text = f"Learning rate {event.learning_rate:.3g}"
        case Finished():
            text = f"The run ended after step {event.step} ({event.reason}); step {event.best_step} was the best"
    return NewEvent(f"{text}.", kind="metrics", data=event_to_json(event))
