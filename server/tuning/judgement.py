"""Judge a run's result: score it through the serving path, compare it with `production`, and apply the gate.

The command line and a job of a server share this code. Each of them reads the store, asks the engine and publishes in
its own way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseModel, ParsedCheckpoint
from prompts_store.manifest import Manifest
from prompts_store.records import AliasRecord
from prompts_store.tuning_records import Promotion
from server.tuning.candidate import Candidate, unpublished
from server.tuning.errors import EvaluationFailed, ExamplesRefused
from server.tuning.gate import Gate, Verdict, judge
from server.tuning.job import TuningJob, TuningResult
from server.tuning.scores import Scores, Unscored

Score = Callable[[Candidate], Awaitable[Scores]]
"""Scores a candidate on the held-out examples."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Purpose of a result: a version of `task`. With `promote` it becomes `production` where the gate passes.

    With `compare`, the version in production is scored too, even if the gate does not require it.
    """

    task: str
    promote: bool
    gate: Gate | None
    compare: bool = False

    @property
    def needs_rival(self) -> bool:
        """Whether the version in production is scored too."""
        return self.compare or (self.gate is not None and self.gate.not_worse_than_production)


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """The version in production. `candidate` is None if it is not to be scored, `Unscored` if it cannot be loaded."""

    alias: AliasRecord
    candidate: Candidate | Unscored | None


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A result that can be published.

    `manifest` has its metrics and provenance. `production` has the scores of the version in production, None if it was
    not scored. `verdict` is None without a gate. A result without scores is not promoted, even without a gate.
    """

    checkpoint: ParsedCheckpoint
    manifest: Manifest
    scores: Scores | Unscored
    production: Scores | Unscored | None
    verdict: Verdict | None
    promotion: Promotion


async def judge_result(
    base: BaseModel,
    aim: Aim,
    rival: Rival | None,
    job: TuningJob,
    result: TuningResult,
    score: Score,
    *,
    max_tensor_bytes: int,
) -> Judgement:
    """Score a result and its rival, and apply the gate. The rival's version becomes the result's `parent_version`.

    Raises `InvalidCheckpoint`, and what `score` raises. Instead of raising `EvaluationFailed` it returns `Unscored`.
    """
    checkpoint = await asyncio.to_thread(read_result, result, base, max_tensor_bytes)
    scores = await scores_of(score, unpublished(f"{aim.task} (new)", aim.task, checkpoint, job.manifest, base))
    if isinstance(scores, Scores):
        scores = replace(scores, agreement=result.metrics.get("agreement"))
    theirs = None if rival is None or rival.candidate is None else await scores_of(score, rival.candidate)
    verdict = None if aim.gate is None else judge(aim.gate, scores, theirs)
    promotion = Promotion(
        is_wanted=aim.promote,
        is_refused=isinstance(scores, Unscored) or (verdict is not None and not verdict.passed),
        etag=None if rival is None else rival.alias.etag,
        reason="tuned" if verdict is None else f"tuned; gate: {verdict.reason}",
    )
    manifest = replace(
        job.manifest,
        metrics={**result.metrics, **_without_ends(job, metrics_of(scores))},
        parent_version=None if rival is None else rival.alias.version,
    )
    return Judgement(checkpoint, manifest, scores, theirs, verdict, promotion)


async def scores_of(score: Score, candidate: Candidate | Unscored) -> Scores | Unscored:
    """A candidate's scores, or the reason why there are none.

    `EvaluationFailed` becomes `Unscored`, and so does `ExamplesRefused`: the candidate's template decides what is
    encoded. Raises everything else that `score` raises.
    """
    if isinstance(candidate, Unscored):
        return candidate
    try:
        return await score(candidate)
    except (EvaluationFailed, ExamplesRefused) as error:
        return Unscored(candidate.name, str(error))


def metrics_of(scores: Scores | Unscored) -> Mapping[str, Any]:
    """The scores, or the reason why there are none, as JSON values for a manifest."""
    if isinstance(scores, Unscored):
        return {"not_evaluated": scores.reason}
    return {name: value for name, value in asdict(scores).items() if name != "name" and value is not None}


def _without_ends(job: TuningJob, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metrics of a version. A perplexity counts end tokens, which a teacher whose answers are cut never writes."""
    if job.distillation is None:
        return metrics
    return {name: value for name, value in metrics.items() if name != "perplexity"}


def read_result(result: TuningResult, base: BaseModel, max_tensor_bytes: int) -> ParsedCheckpoint:
    """The result as any published checkpoint is read. Raises `InvalidCheckpoint`."""
    return read_checkpoint(
        result.config,
        result.tensors,
        base,
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=max_tensor_bytes,
    )
