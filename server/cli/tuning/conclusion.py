"""The end of a run on this machine: evaluate, save, publish, and perhaps promote."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from prompts_store.manifest import Manifest, manifest_to_json
from prompts_store.records import Published
from prompts_store.tuning_store import TuningStore
from server.cli.errors import TuningProblem
from server.cli.output import one_line
from server.cli.tasks.checkpoint_folder import write_version
from server.cli.tasks.publication import CheckpointFiles
from server.cli.tuning.order import Order
from server.cli.tuning.outcome import Outcome, gate_news, version_news, write_plot
from server.cli.tuning.scoring import scoring
from server.cli.tuning.workbench import LocalWorkbench
from server.jobs.candidates import load_rival
from server.tuning.candidate import base_alone
from server.tuning.errors import PlotsUnavailable
from server.tuning.job import TuningJob, TuningResult
from server.tuning.judgement import Aim, Judgement, judge_result, scores_of
from server.tuning.plot import draw_plot
from server.tuning.scores import Scores, Unscored

ACTOR = "cli"


def conclude(local: LocalWorkbench, order: Order, job: TuningJob, result: TuningResult, begun_at: int) -> Outcome:
    """Evaluate a result on the held-out examples, then save and publish it.

    `begun_at` is the store's revision when tuning began. A result without scores is saved, but not published.
    Raises CliError, StoreError, TuningError and EngineError.
    """
    judged, base = asyncio.run(_judge(local, order, job, result))
    picture = _plot(result, order.task)
    news = [] if judged.verdict is None else [gate_news(judged.verdict.passed, judged.verdict.reason)]
    if order.run.save is not None:
        _save(order.run.save, result, judged.manifest, picture)
        news.append(f"saved in {order.run.save}")
    if isinstance(judged.scores, Unscored):
        for line in news:
            print(one_line(line), file=sys.stderr)
        raise TuningProblem(judged.scores.reason)
    published = None
    if order.run.publish:
        published = _publish(local, order.task, judged, begun_at, picture)
        number, promoted = published.version.version, published.promoted
        news.append(version_news(order.task, number, created=published.created, promoted=promoted))
    return Outcome(
        task=order.task,
        version=None if published is None else published.version.version,
        digest=None if published is None else published.version.digest,
        promoted=published is not None and published.promoted,
        scores=tuple(one for one in (judged.scores, judged.production, base) if isinstance(one, Scores)),
        metrics=judged.manifest.metrics,
        num_steps=int(result.metrics["num_steps"]),
        folder=None if order.run.save is None else str(order.run.save),
        news=tuple(news),
    )


async def _judge(
    local: LocalWorkbench, order: Order, job: TuningJob, result: TuningResult
) -> tuple[Judgement, Scores | Unscored | None]:
    """Return the judgement with the base model's exact match among its metrics, and the base model's scores.

    These are None where a head answers, which the base model alone does not have.
    """
    bench = local.bench
    aim = Aim(order.task, order.gate is not None, order.gate, compare=True)
    rival = await asyncio.to_thread(load_rival, bench.store, bench.base, aim)
    async with scoring(bench, job.data.validation, job.data.labels) as score:
        limit = bench.store.max_tensor_bytes
        judged = await judge_result(bench.base, aim, rival, job, result, score, max_tensor_bytes=limit)
        base = None if job.plan.has_head else await scores_of(score, base_alone(job.manifest))
    if isinstance(base, Scores):
        metrics = {**judged.manifest.metrics, "base_exact_match": base.exact_match}
        judged = replace(judged, manifest=replace(judged.manifest, metrics=metrics))
    return judged, base


def _publish(local: LocalWorkbench, task: str, judged: Judgement, begun_at: int, picture: bytes | None) -> Published:
    return TuningStore(local.bench.store).publish(
        task,
        judged.checkpoint,
        judged.manifest,
        judged.promotion,
        begun_at=begun_at,
        plot=picture,
        actor=ACTOR,
    )


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
