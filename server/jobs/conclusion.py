"""What comes of a finished run: judged through the serving path, published, and promoted where its gate opens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from prompts_store.checkpoint_reader import read_checkpoint
from prompts_store.errors import NotFound, StoreUnavailable
from prompts_store.names import PRODUCTION
from prompts_store.records import AliasRecord, BaseModel, Checkpoint, Published, VersionRecord
from prompts_store.store import Store
from prompts_store.tuning_records import JobClaim, JobOutcome, JobRecord, NewEvent, Promotion
from prompts_store.tuning_store import TuningStore
from server.engine.client import EngineClient
from server.engine.errors import EngineOverloaded
from server.jobs.request import JobRequest, request_from_json
from server.jobs.training import Heart
from server.soft_prompts.catalog import TaskCatalog
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.errors import PlotsUnavailable
from server.tuning.evaluation import Candidate, Scores, evaluate, unpublished
from server.tuning.events import TuningEvent
from server.tuning.gate import judge
from server.tuning.run import TuningJob, TuningResult

DrawPlot = Callable[[Sequence[TuningEvent]], bytes]
Evaluate = Callable[..., Awaitable[Scores]]

_RETRY_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A run that has ended. `num_tokens` went through the model."""

    claim: JobClaim
    record: JobRecord
    job: TuningJob
    result: TuningResult
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """Ends jobs of one base model."""

    store: Store
    tuning: TuningStore
    base: BaseModel
    engine: EngineClient
    tokenizer: Tokenizer
    catalog: TaskCatalog
    draw_plot: DrawPlot
    evaluate: Evaluate = evaluate

    async def conclude(self, finished: Finished, heart: Heart) -> Published:
        """Judge, publish and promote; once it returns, this server answers by the version.

        Raises ClaimLost, and what publication and evaluation raise.
        """
        record, result = finished.record, finished.result
        request = request_from_json(record.request)
        rival = await asyncio.to_thread(self._production, record.task)
        checkpoint, candidate = await asyncio.to_thread(self._read, finished)
        scores = await self._scores(candidate, finished.job, heart)
        heart.tell([NewEvent("The held-out examples were answered.", kind="metrics", data=_metrics(scores))])
        promotion = await self._promotion(request, scores, rival, finished.job, heart)
        plot = await self._plot(result, heart)
        metrics = {**result.metrics, **_metrics(scores)}
        manifest = replace(finished.job.manifest, metrics=metrics)
        outcome = JobOutcome(manifest, promotion, finished.num_tokens, metrics, plot)
        published = await self._publish(finished, checkpoint, outcome, heart)
        await self._refresh()
        return published

    async def _scores(self, candidate: Candidate, job: TuningJob, heart: Heart) -> Scores:
        """Score a candidate; where too many requests wait, later."""
        while True:
            heart.check()
            try:
                return await self.evaluate(
                    self.engine,
                    self.tokenizer,
                    candidate,
                    job.data.validation,
                    end_token_id=job.end_token_id,
                    labels=candidate.manifest.labels,
                )
            except EngineOverloaded:
                await asyncio.sleep(_RETRY_S)

    async def _promotion(
        self, request: JobRequest, scores: Scores, rival: AliasRecord | None, job: TuningJob, heart: Heart
    ) -> Promotion:
        """What the gate says, of the alias as it was when the evaluation began."""
        etag = None if rival is None else rival.etag
        if request.gate is None:
            return Promotion(request.promote, etag=etag, reason="tuned")
        theirs = None
        if request.gate.not_worse_than_production and rival is not None:
            record = await asyncio.to_thread(self.store.get_version, self.base.fingerprint, rival.task, rival.version)
            theirs = await self._scores(await self._candidate(record), job, heart)
        verdict = judge(request.gate, scores, theirs)
        level = "info" if verdict.passed else "warn"
        opened = "opened" if verdict.passed else "stayed shut"
        heart.tell([NewEvent(f"The gate {opened}: {verdict.reason}.", level=level)])
        return Promotion(request.promote, not verdict.passed, etag, f"tuned; gate: {verdict.reason}")

    async def _candidate(self, record: VersionRecord) -> Candidate:
        prefixes = await self.catalog.prefixes(record)
        return Candidate(f"{record.task}@{record.version}", record.task, prefixes, record.manifest)

    async def _plot(self, result: TuningResult, heart: Heart) -> bytes | None:
        try:
            return await asyncio.to_thread(self.draw_plot, result.history)
        except PlotsUnavailable as error:
            heart.tell([NewEvent(f"There is no plot: {error}.", level="warn")])
            return None

    async def _publish(
        self, finished: Finished, checkpoint: Checkpoint, outcome: JobOutcome, heart: Heart
    ) -> Published:
        """Publish; while the store is away, wait for it: all that was learnt is here alone."""
        while True:
            try:
                return await asyncio.to_thread(self._write, finished, checkpoint, outcome, heart)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)

    def _write(self, finished: Finished, checkpoint: Checkpoint, outcome: JobOutcome, heart: Heart) -> Published:
        record = finished.record
        self.tuning.beat(finished.claim, heart.take_untold(), heart.progress)
        return self.tuning.complete_job(
            finished.claim, self.base, record.task, checkpoint, outcome, actor=record.created_by
        )

    async def _refresh(self) -> None:
        try:
            await self.catalog.refresh()
        except StoreUnavailable:
            return  # the follower takes it over later

    def _production(self, task: str) -> AliasRecord | None:
        try:
            return self.store.get_alias(self.base.fingerprint, task, PRODUCTION)
        except NotFound:
            return None

    def _read(self, finished: Finished) -> tuple[Checkpoint, Candidate]:
        """The result as any published checkpoint is read, and as requests would use it."""
        result, record = finished.result, finished.record
        checkpoint = read_checkpoint(
            result.config, result.tensors, self.base, task_index=None, allow_base_mismatch=False
        )
        name = f"the version tuned by job {record.id}"
        return checkpoint, unpublished(name, record.task, checkpoint, finished.job.manifest, self.base)


def _metrics(scores: Scores) -> Mapping[str, Any]:
    """The scores that there are, as JSON values."""
    return {name: value for name, value in asdict(scores).items() if name != "name" and value is not None}
