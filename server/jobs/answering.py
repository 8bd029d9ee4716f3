"""The first phase of a distillation: inputs that are missing are written, the teacher answers, and both are kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prompts_store.errors import StoreUnavailable
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import JobClaim, NewEvent
from prompts_store.tuning_store import TuningStore
from server.background_task import background_task, uninterrupted
from server.engine.client import RequestRunner
from server.jobs.claim_heartbeat import ClaimHeartbeat
from server.jobs.event_texts import note_event
from server.threads import Threads
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.distillation.answers import notes_on, unanswered, with_answers, write_answers
from server.tuning.distillation.self_study import pending, write_inputs
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.distillation.studied import num_to_write, with_inputs, writer_of
from server.tuning.distillation.teacher import Teacher
from server.tuning.fit import Host
from server.tuning.job import TuningJob
from server.tuning.teaching import Answer

_MIN_PAUSE_S = 0.01
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Answering:
    """Lets the engine write and answer the inputs of a claimed job. A resumed job asks only for what is missing.

    Both are saved every `checkpoint_s`, at their end, and where the work is interrupted.
    """

    store: TuningStore
    claim: JobClaim
    engine: RequestRunner
    tokenizer: Tokenizer
    host: Host
    heartbeat: ClaimHeartbeat
    checkpoint_s: float
    threads: Threads
    _answers: dict[str, Answer] = field(default_factory=dict, init=False)
    _drafts: dict[int, str] = field(default_factory=dict, init=False)
    _num_saved: int = field(default=0, init=False)

    async def complete(self, job: TuningJob) -> TuningJob:
        """Return the job with all inputs and answers.

        Raises ClaimLost, StoreError, `CheckpointUnreadable`, `EvaluationFailed`, `EngineStopped`, `StudyFailed`,
        `TeacherSilent`, and `ExamplesRefused` or `PlanRefused` for inputs that were written and do not fit.
        """
        distillation = job.distillation
        assert distillation is not None
        saved = await self.threads.run(self._load)
        self._answers, self._drafts = dict(saved.answers), dict(saved.drafts)
        self._num_saved = self._num_found
        teacher = Teacher(self.tokenizer, job.manifest, distillation)
        if distillation.num_inputs is not None:
            job = await self._study(job, teacher)
        if missing := unanswered(job, self._answers):
            kept = f"; {len(self._answers)} are answered already" if self._answers else ""
            self.heartbeat.queue([NewEvent(f"The teacher answers {len(missing)} inputs{kept}.")])
            async with self._saving("teacher's answers"):
                await write_answers(self.engine, teacher, missing, self._take, on_progress=self._check)
            notes = notes_on(self._answers, distillation.max_answer_tokens)
            done = NewEvent(f"The teacher has answered {len(self._answers)} inputs.")
            self.heartbeat.queue([done, *map(note_event, notes)])
        return with_answers(job, self._answers)

    async def _study(self, job: TuningJob, teacher: Teacher) -> TuningJob:
        """Let the base model write the inputs that are missing, and return the job with all of them."""
        num_missing = num_to_write(job)
        if pending(self._drafts, num_missing):
            kept = f"; {len(self._drafts)} drafts are there already" if self._drafts else ""
            self.heartbeat.queue([NewEvent(f"The base model writes {num_missing} inputs{kept}.")])
            writer = await self.threads.run(writer_of, job, self.tokenizer, self.host.base.max_context)
            async with self._saving("drafts of inputs"):
                await write_inputs(self.engine, writer, num_missing, self._drafts, on_progress=self._check)
        job = await self.threads.run(with_inputs, job, self._drafts)
        self.heartbeat.queue([note_event(note) for note in job.data.notes])
        for examples in (job.data.training, job.data.validation):
            await self.threads.run(teacher.check_inputs, self.host, job.plan, examples)
        return job

    @asynccontextmanager
    async def _saving(self, what: str) -> AsyncIterator[None]:
        """Save again and again while the context is open, and at its end."""
        try:
            async with background_task(self._save_repeatedly(), what):
                yield
        finally:
            await uninterrupted(self._save_if_held())

    @property
    def _num_found(self) -> int:
        return len(self._answers) + len(self._drafts)

    def _check(self, num_done: int) -> None:
        self.heartbeat.check()

    def _take(self, text: str, answer: Answer) -> None:
        self._answers[text] = answer

    def _load(self) -> DistillationState:
        state = self.store.load_checkpoint(self.claim)
        return DistillationState() if state is None else unpack_state(state)

    async def _save_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(max(_MIN_PAUSE_S, self.checkpoint_s))
            await self._save_if_held()

    async def _save_if_held(self) -> None:
        """Save new drafts and answers. If the store cannot be reached, a warning is queued and the job continues."""
        if (num_found := self._num_found) == self._num_saved:
            return
        state = pack_state(DistillationState(self._answers, drafts=self._drafts))
        metrics = {"answered": len(self._answers)}
        try:
            async with self.heartbeat.queued_events() as events:
                await self.threads.run(self._write, metrics, state, events)
            self._num_saved = num_found
        except ClaimLost:
            self.heartbeat.beat_soon()  # its next check ends this work
        except StoreUnavailable as error:
            _log.warning("answers of tuning job %d cannot be saved now: %s", self.claim.job_id, error)
            self.heartbeat.queue([NewEvent(f"Answers of the teacher could not be saved: {error}", level="warn")])

    def _write(self, metrics: dict[str, int], state: bytes, events: tuple[NewEvent, ...]) -> None:
        self.store.save_checkpoint(self.claim, 0, metrics, state, events, is_progress=True)
