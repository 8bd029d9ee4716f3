"""The teacher of a distillation on this machine: its job, its limits, its prompts, and its answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from rich.progress import Progress

from server.cli.output import console_of, one_line, print_table
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import LocalWorkbench, WorkbenchOptions, open_local_workbench
from server.tuning.distillation.answers import notes_on, unanswered, with_answers, write_answers
from server.tuning.distillation.plan import plan_distillation, version_defaults
from server.tuning.distillation.questions import with_questions, writer_of
from server.tuning.distillation.self_study import write_inputs
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import preview
from server.tuning.errors import CheckpointUnreadable
from server.tuning.fit import Host
from server.tuning.job import TuningJob
from server.tuning.kept_runs import KeptRun
from server.tuning.teaching import Answer, Distillation

_SAVE_INTERVAL_S = 10.0
_Result = TypeVar("_Result")


def distillation_job(local: LocalWorkbench, order: Order, distillation: Distillation) -> TuningJob:
    """The job of an order, without answers. Raises TuningError, InvalidManifest and UsageProblem."""
    bench = local.bench
    manifest = order.about.manifest(bench.manifest, order.data, bench.tokenizer, lambda num_tokens: num_tokens)
    if order.about.max_tokens is None:
        manifest = replace(manifest, defaults=version_defaults(distillation))
    plan = plan_distillation(order.options.given(), Teacher(bench.tokenizer, manifest, distillation), bench.base.kind)
    return TuningJob(plan, order.data, manifest, bench.base_id, bench.end_token_id, distillation)


def check_distillation(local: LocalWorkbench, job: TuningJob, host: Host) -> None:
    """Raise TuningError for a text or an input that does not fit into the context or the memory."""
    teacher = _teacher(local, job)
    if teacher.distillation.num_questions is not None:
        teacher.check_document(host, job.plan)
        return
    teacher.check_instruction(host.base.max_context)
    for examples in (job.data.training, job.data.validation):
        teacher.check_inputs(host, job.plan, examples)


def answered(local: LocalWorkbench, order: Order, job: TuningJob, kept: KeptRun) -> TuningJob:
    """Return the job with the teacher's answers, and of a document with its questions.

    What is kept already is not asked for again. Raises KeyboardInterrupt once the work so far is kept, `RunNotKept`,
    EngineError and TuningError.
    """
    assert job.distillation is not None
    answers, drafts = _kept_work(order, kept)

    def keep() -> None:
        kept.write(pack_state(DistillationState(answers, None, drafts)))

    if job.distillation.num_questions is not None:
        job = _with_questions(local, job, drafts, keep if not answers else lambda: None)
    if missing := unanswered(job, answers):
        num_kept = f"; {len(answers)} are kept" if answers else ""
        print(f"the teacher answers {len(missing)} inputs{num_kept}", file=sys.stderr)

        async def write(on_progress: Callable[[int], object]) -> None:
            await write_answers(
                local.bench.engine, _teacher(local, job), missing, answers.__setitem__, on_progress=on_progress
            )

        _ask(local, "The teacher answers", len(missing), write, keep, "asks for the missing answers only")
        for note in notes_on(answers, job.distillation.max_answer_tokens):
            print(one_line(note.text), file=sys.stderr)
    return with_answers(job, answers)


def _with_questions(
    local: LocalWorkbench, job: TuningJob, drafts: dict[int, str], keep: Callable[[], None]
) -> TuningJob:
    """Return the job with questions about its document. Those of the drafts that are kept are not written again."""
    assert job.distillation is not None and job.distillation.num_questions is not None
    num_questions, writer = job.distillation.num_questions, writer_of(local.bench.tokenizer, job)
    num_kept = f"; {len(drafts)} drafts are kept" if drafts else ""
    print(f"the base model writes {num_questions} questions about the document{num_kept}", file=sys.stderr)

    async def write(on_progress: Callable[[int], object]) -> list[str]:
        return await write_inputs(local.bench.engine, writer, num_questions, drafts, on_progress)

    questions = _ask(local, "The base model asks", num_questions, write, keep, "goes on with the questions")
    job = with_questions(job, questions, drafts)
    for note in job.data.notes:
        print(one_line(note.text), file=sys.stderr)
    return job


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


def _kept_work(order: Order, kept: KeptRun) -> tuple[dict[str, Answer], dict[int, str]]:
    """Return the answers and the drafts of questions that are kept."""
    saved = None if order.run.resume is False else kept.read()
    if saved is None:
        return {}, {}
    try:
        state = unpack_state(saved)
        return dict(state.answers), dict(state.drafts)
    except CheckpointUnreadable as error:
        if order.run.resume:
            raise
        print(f"the answers are asked for anew: {error}", file=sys.stderr)
        return {}, {}


def _ask(
    local: LocalWorkbench,
    label: str,
    total: int,
    work: Callable[[Callable[[int], object]], Coroutine[Any, Any, _Result]],
    keep: Callable[[], None],
    afterwards: str,
) -> _Result:
    """Let the engine work. Keep the result every few seconds, at the end, and where the work is interrupted."""
    console, kept_at = console_of(sys.stderr), time.monotonic()

    async def ask() -> _Result:
        def on_progress(num_done: int) -> None:
            nonlocal kept_at
            progress.update(bar, completed=num_done)
            if time.monotonic() - kept_at > _SAVE_INTERVAL_S:
                keep()
                kept_at = time.monotonic()

        async with local.bench.engine.running():
            with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
                bar = progress.add_task(label, total=total)
                try:
                    return await work(on_progress)
                finally:
                    keep()

    try:
        return asyncio.run(ask())
    except KeyboardInterrupt:
        print(f"softprompt: stopped; the same command {afterwards}", file=sys.stderr)
        raise
