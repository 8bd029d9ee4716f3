"""The teacher of a distillation on this machine: its job, its limits, its prompts, and its answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from rich.progress import Progress

from server.cli.output import console_of, one_line, print_table
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import LocalWorkbench, WorkbenchOptions, open_local_workbench
from server.tuning.distillation.answers import notes_on, unanswered, with_answers, write_answers
from server.tuning.distillation.plan import plan_distillation, version_defaults
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import preview
from server.tuning.errors import CheckpointUnreadable
from server.tuning.fit import Host
from server.tuning.job import TuningJob
from server.tuning.kept_runs import KeptRun
from server.tuning.teaching import Answer, Distillation

_SAVE_INTERVAL_S = 10.0


def distillation_job(local: LocalWorkbench, order: Order, distillation: Distillation) -> TuningJob:
    """The job of an order, without answers. Raises TuningError, InvalidManifest and UsageProblem."""
    bench = local.bench
    plan = plan_distillation(order.options.given(), distillation, bench.tokenizer, bench.base.kind)
    manifest = order.about.manifest(bench.manifest, order.data, bench.tokenizer, lambda num_tokens: num_tokens)
    if order.about.max_tokens is None:
        manifest = replace(manifest, defaults=version_defaults(distillation))
    return TuningJob(plan, order.data, manifest, bench.base_id, bench.end_token_id, distillation)


def check_distillation(local: LocalWorkbench, job: TuningJob, host: Host) -> None:
    """Raise TuningError for an instruction or an input that does not fit into the context or the memory."""
    teacher = _teacher(local, job)
    teacher.check_instruction(host.base.max_context)
    for examples in (job.data.training, job.data.validation):
        teacher.check_inputs(host, job.plan, examples)


def answered(local: LocalWorkbench, order: Order, job: TuningJob, kept: KeptRun) -> TuningJob:
    """Return the job with the teacher's answers. Those that are kept already are not asked for again.

    Raises KeyboardInterrupt once the answers so far are kept, `RunNotKept`, EngineError and TuningError.
    """
    assert job.distillation is not None
    answers = _kept_answers(order, kept)
    if missing := unanswered(job, answers):
        num_kept = f"; {len(answers)} are kept" if answers else ""
        print(f"the teacher answers {len(missing)} inputs{num_kept}", file=sys.stderr)
        try:
            asyncio.run(_ask(local, job, answers, lambda: kept.write(pack_state(DistillationState(answers)))))
        except KeyboardInterrupt:
            print("softprompt: stopped; the same command asks for the missing answers only", file=sys.stderr)
            raise
        for note in notes_on(answers, job.distillation.max_answer_tokens):
            print(one_line(note.text), file=sys.stderr)
    return with_answers(job, answers)


def print_prompts(order: Order, place: WorkbenchOptions, num_inputs: int) -> None:
    """Print the prompts of teacher and student token by token. Raises CliError, StoreError and TuningError."""
    assert order.distillation is not None
    with open_local_workbench(place) as local:
        job = distillation_job(local, order, order.distillation)
        teacher = _teacher(local, job)
        for example in job.data.training[:num_inputs]:
            encoded = teacher.encode(example, ())
            num_tokens, num_virtual = len(encoded.prompt), job.plan.num_virtual_tokens
            for reader, one in (
                (f"teacher: {len(encoded.teacher)} tokens", replace(encoded, prompt=encoded.teacher)),
                (f"student: {num_virtual} virtual tokens, then {num_tokens} tokens", encoded),
            ):
                print(f"line {example.line}, {reader}")
                rows = [(token.token_id, repr(token.text)) for token in preview(local.bench.tokenizer, one)]
                print_table(("ID", "TOKEN"), rows)


def _teacher(local: LocalWorkbench, job: TuningJob) -> Teacher:
    assert job.distillation is not None
    return Teacher(local.bench.tokenizer, job.manifest, job.distillation)


def _kept_answers(order: Order, kept: KeptRun) -> dict[str, Answer]:
    saved = None if order.run.resume is False else kept.read()
    if saved is None:
        return {}
    try:
        return dict(unpack_state(saved).answers)
    except CheckpointUnreadable as error:
        if order.run.resume:
            raise
        print(f"the answers are asked for anew: {error}", file=sys.stderr)
        return {}


async def _ask(local: LocalWorkbench, job: TuningJob, answers: dict[str, Answer], keep: Callable[[], None]) -> None:
    """Fill in the missing answers. Keep them every few seconds, at the end, and where the work is interrupted."""
    bench, missing, console = local.bench, unanswered(job, answers), console_of(sys.stderr)
    kept_at = time.monotonic()

    def take(text: str, answer: Answer) -> None:
        nonlocal kept_at
        answers[text] = answer
        if time.monotonic() - kept_at > _SAVE_INTERVAL_S:
            keep()
            kept_at = time.monotonic()

    async with bench.engine.running():
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("The teacher answers", total=len(missing))
            try:
                await write_answers(
                    bench.engine,
                    _teacher(local, job),
                    missing,
                    take,
                    on_progress=lambda num_done: progress.update(bar, completed=num_done),
                )
            finally:
                keep()
