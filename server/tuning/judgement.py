"""What is to become of a run's result: scored through the serving path, held against `production`, perhaps let through.

A run on a machine of its own and a job in a server are judged here alike; how they ask the engine, and what they do
with the judgement, is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.errors import NotFound, StoreError, StoreUnavailable
from prompts_store.manifest import Manifest
from prompts_store.names import PRODUCTION
from prompts_store.records import AliasRecord, BaseModel, ParsedCheckpoint
from prompts_store.store import Store
from prompts_store.tuning_records import Promotion
from server.tuning.errors import EvaluationFailed, ExamplesRefused
from server.tuning.evaluation import Candidate, published, unpublished
from server.tuning.gate import Gate, Verdict, judge
from server.tuning.run import TuningJob, TuningResult
from server.tuning.scores import Scores, Unscored

Score = Callable[[Candidate], Awaitable[Scores]]
"""Scores a candidate on the held-out examples."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What the result is for: a version of `task`, which is to become `production` if `promote` and the gate say so.

    `compare` has the version in production scored too, whatever the gate requires.
    """

    task: str
    promote: bool
    gate: Gate | None
    compare: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A result that can be published. `manifest` has its metrics and provenance; `production` are the scores of the
    version that it was compared with, None where it was with none; `verdict` is None without a gate. A result without
    scores is refused promotion, by whatever gate or none."""

    checkpoint: ParsedCheckpoint
    manifest: Manifest
    scores: Scores | Unscored
    production: Scores | Unscored | None
    verdict: Verdict | None
    promotion: Promotion


async def judge_result(
    store: Store, base: BaseModel, aim: Aim, job: TuningJob, result: TuningResult, score: Score
) -> Judgement:
    """Judge a result, held against the version in production as it is now: its `parent_version`.

    What becomes of that version while the result is scored changes nothing. What cannot be scored is `Unscored`.
    Raises `InvalidCheckpoint`, and what the store and `score` raise but `EvaluationFailed`.
    """
    is_compared = aim.compare or (aim.gate is not None and aim.gate.not_worse_than_production)
    rival = await asyncio.to_thread(_production, store, base, aim.task, is_compared=is_compared)
    checkpoint = await asyncio.to_thread(_read, result, base, store.max_tensor_bytes)
    scores = await scores_of(score, unpublished(f"{aim.task} (new)", aim.task, checkpoint, job.manifest))
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
        metrics={**result.metrics, **metrics_of(scores)},
        parent_version=None if rival is None else rival.alias.version,
    )
    return Judgement(checkpoint, manifest, scores, theirs, verdict, promotion)


async def scores_of(score: Score, candidate: Candidate | Unscored) -> Scores | Unscored:
    """A candidate's scores, or why there are none.

    Raises what `score` raises, but `EvaluationFailed`, and `ExamplesRefused` for what the candidate's template makes.
    """
    if isinstance(candidate, Unscored):
        return candidate
    try:
        return await score(candidate)
    except (EvaluationFailed, ExamplesRefused) as error:
        return Unscored(candidate.name, str(error))


def metrics_of(scores: Scores | Unscored) -> Mapping[str, Any]:
    """The scores that there are, or why there are none, as JSON values for a manifest."""
    if isinstance(scores, Unscored):
        return {"not_evaluated": scores.reason}
    return {name: value for name, value in asdict(scores).items() if name != "name" and value is not None}


@dataclass(frozen=True, slots=True, eq=False)
class _Rival:
    """What is in production. `candidate` is None where nothing is compared with it, `Unscored` where it cannot be."""

    alias: AliasRecord
    candidate: Candidate | Unscored | None


def _production(store: Store, base: BaseModel, task: str, *, is_compared: bool) -> _Rival | None:
    try:
        alias = store.get_alias(base.fingerprint, task, PRODUCTION)
    except NotFound:
        return None
    return _Rival(alias, _candidate(store, base, alias) if is_compared else None)


def _candidate(store: Store, base: BaseModel, alias: AliasRecord) -> Candidate | Unscored:
    """The version in production, with all that scoring it needs. Raises StoreUnavailable."""
    try:
        return published(store, store.get_version(base.fingerprint, alias.task, alias.version, include_retired=True))
    except StoreUnavailable:
        raise
    except StoreError as error:
        return Unscored(f"{alias.task}@{alias.version}", str(error))


def _read(result: TuningResult, base: BaseModel, max_tensor_bytes: int) -> ParsedCheckpoint:
    """The result as any published checkpoint is read."""
    return read_checkpoint(
        result.config,
        result.tensors,
        base,
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=max_tensor_bytes,
    )
