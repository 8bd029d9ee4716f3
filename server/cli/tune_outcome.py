"""What comes of a finished run: scores through the engine, a folder, a version, perhaps `production`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prompts_store.checkpoint_reader import read_checkpoint
from prompts_store.errors import NotFound
from prompts_store.manifest import manifest_to_json
from prompts_store.names import PRODUCTION
from prompts_store.records import AliasRecord, Checkpoint, Manifest, Published
from prompts_store.tuning_records import Promotion
from prompts_store.tuning_store import TuningStore
from server.cli.checkpoint_folder import write_version
from server.cli.errors import FilesProblem
from server.cli.evaluate import score_all
from server.cli.views import CheckpointFiles
from server.cli.workbench import Place
from server.tuning.errors import PlotsUnavailable
from server.tuning.evaluation import Candidate, Scores, base_alone, unpublished
from server.tuning.evaluation import published as candidate_of
from server.tuning.gate import Gate, Verdict, judge
from server.tuning.plot import draw_plot
from server.tuning.run import TuningJob, TuningResult

ACTOR = "cli"
PLOT = "tuning.png"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be told of a run. `version` and `digest` are None where nothing was published."""

    task: str
    version: int | None
    digest: str | None
    promoted: bool
    scores: tuple[Scores, ...]
    metrics: Mapping[str, Any]
    num_steps: int
    folder: str | None
    news: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def conclude(
    at: Place, task: str, job: TuningJob, result: TuningResult, gate: Gate | None, *, save: Path | None, publish: bool
) -> Outcome:
    """Judge a result by the held-out examples, and save and publish it. Raises CliError and StoreError."""
    bench = at.bench
    checkpoint = read_checkpoint(result.config, result.tensors, bench.base, task_index=None, allow_base_mismatch=False)
    rival = _production(at, task)
    mine = unpublished(f"{task} (new)", task, checkpoint, job.manifest, bench.base)
    candidates = [mine, *_rivals(at, rival), base_alone(job.manifest)]
    scores = asyncio.run(score_all(bench, candidates, job.data.validation, job.data.labels))
    production = scores[1] if rival is not None else None
    verdict = None if gate is None else judge(gate, scores[0], production)
    manifest = replace(job.manifest, metrics={**result.metrics, **_metrics(scores[0], scores[-1])})
    picture = _plot(result, task)
    news = [] if verdict is None else [f"the gate {'opens' if verdict.passed else 'stays shut'}: {verdict.reason}"]
    if save is not None:
        _save(save, result, manifest, picture)
        news.append(f"saved in {save}")
    published = _publish(at, task, checkpoint, manifest, verdict, rival, picture) if publish else None
    if published is not None:
        news.append(_told(published))
    return Outcome(
        task=task,
        version=None if published is None else published.version.version,
        digest=None if published is None else published.version.digest,
        promoted=published is not None and published.promoted,
        scores=tuple(scores),
        metrics=manifest.metrics,
        num_steps=int(result.metrics["num_steps"]),
        folder=None if save is None else str(save),
        news=tuple(news),
    )


def _publish(
    at: Place,
    task: str,
    checkpoint: Checkpoint,
    manifest: Manifest,
    verdict: Verdict | None,
    rival: AliasRecord | None,
    picture: bytes | None,
) -> Published:
    """Publish, and promote by compare-and-swap on `production` as it was before the evaluation."""
    promotion = Promotion(
        is_wanted=verdict is not None and verdict.passed,
        is_refused=verdict is not None and not verdict.passed,
        etag=None if rival is None else rival.etag,
        reason="tuned" if verdict is None else f"tuned; gate: {verdict.reason}",
    )
    store = TuningStore(at.bench.store)
    return store.publish(at.bench.base, task, checkpoint, manifest, promotion, plot=picture, actor=ACTOR)


def _production(at: Place, task: str) -> AliasRecord | None:
    try:
        return at.bench.store.get_alias(at.bench.base.fingerprint, task, PRODUCTION)
    except NotFound:
        return None


def _rivals(at: Place, alias: AliasRecord | None) -> Sequence[Candidate]:
    if alias is None:
        return []
    store = at.bench.store
    return [candidate_of(store, store.get_version(at.bench.base.fingerprint, alias.task, alias.version))]


def _metrics(mine: Scores, base: Scores) -> dict[str, Any]:
    found = {f"heldout_{name}": value for name, value in asdict(mine).items() if name not in ("name", "num_examples")}
    found |= {"heldout_n": mine.num_examples, "base_exact_match": base.exact_match}
    return {name: value for name, value in found.items() if value is not None}


def _plot(result: TuningResult, task: str) -> bytes | None:
    try:
        return draw_plot(result.history, task)
    except PlotsUnavailable as error:
        print(f"no plot: {error}", file=sys.stderr)
        return None


def _save(folder: Path, result: TuningResult, manifest: Manifest, picture: bytes | None) -> None:
    files = CheckpointFiles(result.config, result.tensors)
    write_version(folder, files, manifest_to_json(manifest), overwrite=True)
    try:
        if picture is not None:
            (folder / PLOT).write_bytes(picture)
    except OSError as error:
        raise FilesProblem(f"cannot write {folder / PLOT}: {error.strerror}") from error


def _told(published: Published) -> str:
    version = published.version
    is_production = ", in production" if published.promoted else ""
    return f"{version.task}@{version.version}{is_production}{'' if published.created else ' (nothing new)'}"
