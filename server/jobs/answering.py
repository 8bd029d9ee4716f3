"""The first phase of a distillation: questions about a document are written, and the teacher answers all inputs.

What is written is kept with the job.
"""

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
from server.tuning.distillation.questions import with_questions, writer_of
from server.tuning.distillation.self_study import write_inputs
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.distillation.teacher import Teacher
from server.tuning.job import TuningJob
from server.tuning.teaching import Answer

_MIN_PAUSE_S = 0.01
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Answering:
    """Lets the engine answer the inputs of a claimed job. A resumed job asks for the answers that are missing only.

    The answers are saved every `checkpoint_s`, at their end, and where the work is interrupted.
    """

    store: TuningStore
    claim: JobClaim
    engine: RequestRunner
    tokenizer: Tokenizer
    heartbeat: ClaimHeartbeat
    checkpoint_s: float
    threads: Threads
    _answers: dict[str, Answer] = field(default_factory=dict, init=False)
    _drafts: dict[int, str] = field(default_factory=dict, init=False)
    _num_saved: int = field(default=0, init=False)

    async def complete(self, job: TuningJob) -> TuningJob:
        """Return the job with all answers, and of a document with its questions.

        Raises ClaimLost, StoreError, `CheckpointUnreadable`, `EvaluationFailed`, `EngineStopped`, `TeacherSilent`, and
        `ExamplesRefused` for too few questions.
        """
        assert job.distillation is not None
        state = await self.threads.run(self._load)
        self._answers, self._drafts = dict(state.answers), dict(state.drafts)
        self._num_saved = self._num_done
        if job.distillation.num_questions is not None:
            job = await self._with_questions(job, job.distillation.num_questions)
        if missing := unanswered(job, self._answers):
            kept = f"; {len(self._answers)} are answered already" if self._answers else ""
            self.heartbeat.queue([NewEvent(f"The teacher answers {len(missing)} inputs{kept}.")])
            teacher = Teacher(self.tokenizer, job.manifest, job.distillation)
            async with self._saving():
                await write_answers(
                    self.engine, teacher, missing, self._take, on_progress=lambda _: self.heartbeat.check()
                )
            notes = notes_on(self._answers, job.distillation.max_answer_tokens)
            done = NewEvent(f"The teacher has answered {len(self._answers)} inputs.")
            self.heartbeat.queue([done, *map(note_event, notes)])
        return with_answers(job, self._answers)

    async def _with_questions(self, job: TuningJob, num_questions: int) -> TuningJob:
        if not self._answers:  # else all questions are written
            self.heartbeat.queue([NewEvent(f"The base model writes {num_questions} questions about the document.")])
        writer = writer_of(self.tokenizer, job)
        async with self._saving():
            questions = await write_inputs(
                self.engine, writer, num_questions, self._drafts, lambda _: self.heartbeat.check()
            )
        return with_questions(job, questions, self._drafts)

    @asynccontextmanager
    async def _saving(self) -> AsyncIterator[None]:
        """Save the work repeatedly while the context is open, and at its end."""
        try:
            async with background_task(self._save_repeatedly(), "teacher's answers"):
                yield
        finally:
            await uninterrupted(self._save_if_held())

    @property
    def _num_done(self) -> int:
        return len(self._answers) + len(self._drafts)

    def _take(self, text: str, answer: Answer) -> None:
        self._answers[text] = answer

    def _load(self) -> DistillationState:
        state = self.store.load_checkpoint(self.claim)
        return DistillationState({}) if state is None else unpack_state(state)

    async def _save_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(max(_MIN_PAUSE_S, self.checkpoint_s))
            await self._save_if_held()

    async def _save_if_held(self) -> None:
        """Save new answers. If the store cannot be reached, a warning is queued and the job continues."""
        if (num_done := self._num_done) == self._num_saved:
            return
        state = pack_state(DistillationState(self._answers, None, self._drafts))
        metrics = {"answered": len(self._answers)}
        try:
            async with self.heartbeat.queued_events() as events:
                await self.threads.run(self._write, metrics, state, events)
            self._num_saved = num_done
        except ClaimLost:
            self.heartbeat.beat_soon()  # its next check ends this work
        except StoreUnavailable as error:
            _log.warning("answers of tuning job %d cannot be saved now: %s", self.claim.job_id, error)
            self.heartbeat.queue([NewEvent(f"Answers of the teacher could not be saved: {error}", level="warn")])

    def _write(self, metrics: dict[str, int], state: bytes, events: tuple[NewEvent, ...]) -> None:
        self.store.save_checkpoint(self.claim, 0, metrics, state, events, is_progress=True)
