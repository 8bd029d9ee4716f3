"""The end of a run on this machine: scores through the engine, a folder, a version, perhaps `production`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from prompts_store.manifest import Manifest, manifest_to_json
from prompts_store.tuning_store import TuningStore
from server.cli.errors import TuningProblem
from server.cli.output import one_line
from server.cli.tasks.checkpoint_folder import write_version
from server.cli.tasks.views import CheckpointFiles
from server.cli.tuning.order import Order
from server.cli.tuning.outcome import Outcome, gate_news, version_news, write_plot
from server.cli.tuning.scoring import scoring
from server.cli.tuning.workbench import Place
from server.tuning.errors import PlotsUnavailable
from server.tuning.evaluation import base_alone
from server.tuning.judgement import Aim, Judgement, judge_result, scores_of
from server.tuning.plot import draw_plot
from server.tuning.run import TuningJob, TuningResult
from server.tuning.scores import Scores, Unscored

ACTOR = "cli"


def conclude(at: Place, order: Order, job: TuningJob, result: TuningResult, begun_at: int) -> Outcome:
    """Judge a result by the held-out examples, and save and publish it.

    `begun_at` is the store's revision when tuning began. A result without scores is saved, and not published.
    Raises CliError, StoreError, TuningError and EngineError.
    """
    judged, base = asyncio.run(_judge(at, order, job, result))
    manifest = judged.manifest
    if isinstance(base, Scores):
        manifest = replace(manifest, metrics={**manifest.metrics, "base_exact_match": base.exact_match})
    picture = _plot(result, order.task)
    news = [] if judged.verdict is None else [gate_news(judged.verdict.passed, judged.verdict.reason)]
    if order.run.save is not None:
        _save(order.run.save, result, manifest, picture)
        news.append(f"saved in {order.run.save}")
    if isinstance(judged.scores, Unscored):
        for line in news:
            print(one_line(line), file=sys.stderr)
        raise TuningProblem(judged.scores.reason)
    published = None
    if order.run.publish:
        published = TuningStore(at.bench.store).publish(
            order.task,
            judged.checkpoint,
            manifest,
            judged.promotion,
            begun_at=begun_at,
            plot=picture,
            actor=ACTOR,
        )
        number, promoted = published.version.version, published.promoted
        news.append(version_news(order.task, number, created=published.created, promoted=promoted))
    return Outcome(
        task=order.task,
        version=None if published is None else published.version.version,
        digest=None if published is None else published.version.digest,
        promoted=published is not None and published.promoted,
        scores=tuple(one for one in (judged.scores, judged.production, base) if isinstance(one, Scores)),
        metrics=manifest.metrics,
        num_steps=int(result.metrics["num_steps"]),
        folder=None if order.run.save is None else str(order.run.save),
        news=tuple(news),
    )


async def _judge(at: Place, order: Order, job: TuningJob, result: TuningResult) -> tuple[Judgement, Scores | Unscored]:
    """The judgement, and the scores of the base model alone."""
    bench = at.bench
    aim = Aim(order.task, order.gate is not None, order.gate, compare=True)
    async with scoring(bench, job.data.validation, job.data.labels) as score:
        judged = await judge_result(bench.store, bench.base, aim, job, result, score)
        return judged, await scores_of(score, base_alone(job.manifest))


def _plot(result: TuningResult, task: str) -> bytes | None:
    try:
        return draw_plot(result.history, task)
    except PlotsUnavailable as error:
        print(f"no plot: {error}", file=sys.stderr)
        return None


def _save(folder: Path, result: TuningResult, manifest: Manifest, picture: bytes | None) -> None:
    files = CheckpointFiles(result.config, result.tensors)
    write_version(folder, files, manifest_to_json(manifest), overwrite=True)
    if picture is not None:
        write_plot(folder, picture)
