"""The teacher of a distillation on this machine: its job, its limits, its prompts, and its answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from rich.progress import Progress

from server.cli.output import console_of, one_line, print_table
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import LocalWorkbench, WorkbenchOptions, open_local_workbench
from server.tuning.distillation.answers import notes_on, unanswered, with_answers, write_answers
from server.tuning.distillation.plan import plan_distillation
from server.tuning.distillation.self_study import different, pending, write_inputs
from server.tuning.distillation.state import DistillationState, pack_state, unpack_state
from server.tuning.distillation.studied import num_to_write, with_inputs, writer_of
from server.tuning.distillation.teacher import Teacher
from server.tuning.encoding import preview
from server.tuning.errors import CheckpointUnreadable
from server.tuning.example_line import Example
from server.tuning.fit import Host
from server.tuning.job import TuningJob
from server.tuning.kept_runs import KeptRun
from server.tuning.teaching import Answer, Distillation

_SAVE_INTERVAL_S = 10.0


def distillation_job(local: LocalWorkbench, order: Order, distillation: Distillation) -> TuningJob:
    """The job of an order, without answers. Raises TuningError, InvalidManifest and UsageProblem."""
    bench = local.bench
    longest = distillation.max_answer_tokens
    manifest = order.about.manifest(bench.manifest, order.data, bench.tokenizer, lambda _: longest)
    plan = plan_distillation(order.options.given(), Teacher(bench.tokenizer, manifest, distillation), bench.base.kind)
    return TuningJob(plan, order.data, manifest, bench.base_id, bench.end_token_id, distillation)


def check_distillation(local: LocalWorkbench, job: TuningJob, host: Host) -> None:
    """Raise TuningError for an instruction or an input that does not fit into the context or the memory."""
    teacher = _teacher(local, job)
    teacher.check_text(host, job.plan)
    for examples in (job.data.training, job.data.validation):
        teacher.check_inputs(host, job.plan, examples)


def answered(local: LocalWorkbench, order: Order, job: TuningJob, kept: KeptRun, host: Host) -> TuningJob:
    """Return the job with all inputs and the teacher's answers. What is kept already is not asked for again.

    Raises KeyboardInterrupt once all so far is kept, `RunNotKept`, EngineError and TuningError.
    """
    distillation = job.distillation
    assert distillation is not None
    saved = _kept_state(order, kept)
    answers, drafts = dict(saved.answers), dict(saved.drafts)

    def keep() -> None:
        kept.write(pack_state(DistillationState(answers, drafts=drafts)))

    if distillation.num_inputs is not None:
        job = _studied(local, job, drafts, keep)
        check_distillation(local, job, host)
    if missing := unanswered(job, answers):
        num_kept = f"; {len(answers)} are kept" if answers else ""
        print(f"the teacher answers {len(missing)} inputs{num_kept}", file=sys.stderr)
        _run_kept(partial(_ask, local, job, answers, keep))
        for note in notes_on(answers, distillation.max_answer_tokens):
            print(one_line(note.text), file=sys.stderr)
    return with_answers(job, answers)


def _studied(local: LocalWorkbench, job: TuningJob, drafts: dict[int, str], keep: Callable[[], None]) -> TuningJob:
    """Let the base model write the inputs that are missing, and return the job with all of them."""
    num_missing = num_to_write(job)
    if pending(drafts, num_missing):
        num_kept = f"; {len(drafts)} drafts are kept" if drafts else ""
        print(f"the base model writes {num_missing} inputs{num_kept}", file=sys.stderr)
        _run_kept(partial(_write, local, job, num_missing, drafts, keep))
    job = with_inputs(job, drafts)
    for note in job.data.notes:
        print(one_line(note.text), file=sys.stderr)
    return job


def _run_kept(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run work that keeps what it has where it is interrupted."""
    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        print("softprompt: stopped; the same command asks for what is missing only", file=sys.stderr)
        raise


def print_prompts(order: Order, place: WorkbenchOptions, num_inputs: int) -> None:
    """Print the prompts of teacher and student token by token, for inputs that the base model writes if there are none.

    Raises CliError, StoreError, EngineError and TuningError.
    """
    assert order.distillation is not None
    with open_local_workbench(place) as local:
        job = distillation_job(local, order, order.distillation)
        teacher = _teacher(local, job)
        teacher.check_instruction(local.bench.loaded.architecture.max_context)
        for example in job.data.training[:num_inputs] or _written(local, job, num_inputs):
            encoded = teacher.encode(example, ())
            num_tokens, num_virtual = len(encoded.prompt), job.plan.num_virtual_tokens
            for reader, one in (
                (f"teacher: {len(encoded.teacher)} tokens", replace(encoded, prompt=encoded.teacher)),
                (f"student: {num_virtual} virtual tokens, then {num_tokens} tokens", encoded),
            ):
                print(f"line {example.line}, {reader}")
                rows = [(token.token_id, repr(token.text)) for token in preview(local.bench.tokenizer, one)]
                print_table(("ID", "TOKEN"), rows)


def _written(local: LocalWorkbench, job: TuningJob, num_inputs: int) -> list[Example]:
    """A few inputs as the base model writes them, to be looked at."""
    drafts: dict[int, str] = {}
    asyncio.run(_write(local, job, num_inputs, drafts, lambda: None))
    return [Example(text, "", number) for number, text in enumerate(different(drafts, num_inputs), start=1)]


def _teacher(local: LocalWorkbench, job: TuningJob) -> Teacher:
    assert job.distillation is not None
    return Teacher(local.bench.tokenizer, job.manifest, job.distillation)


def _kept_state(order: Order, kept: KeptRun) -> DistillationState:
    saved = None if order.run.resume is False else kept.read()
    if saved is None:
        return DistillationState()
    try:
        return unpack_state(saved)
    except CheckpointUnreadable as error:
        if order.run.resume:
            raise
        print(f"inputs and answers are asked for anew: {error}", file=sys.stderr)
        return DistillationState()


async def _write(
    local: LocalWorkbench, job: TuningJob, count: int, drafts: dict[int, str], keep: Callable[[], None]
) -> None:
    """Let the base model write inputs."""
    bench = local.bench
    writer = writer_of(job, bench.tokenizer, bench.loaded.architecture.max_context)
    async with _asking(local, "The base model writes", count, keep) as progress:
        await write_inputs(bench.engine, writer, count, drafts, progress)


async def _ask(local: LocalWorkbench, job: TuningJob, answers: dict[str, Answer], keep: Callable[[], None]) -> None:
    """Fill in the missing answers."""
    missing = unanswered(job, answers)
    async with _asking(local, "The teacher answers", len(missing), keep) as progress:
        await write_answers(local.bench.engine, _teacher(local, job), missing, answers.__setitem__, progress)


@asynccontextmanager
async def _asking(
    local: LocalWorkbench, title: str, total: int, keep: Callable[[], None]
) -> AsyncIterator[Callable[[int], None]]:
    """Run the engine behind a progress bar. Keep what it gives every few seconds, and at the end of the context."""
    console = console_of(sys.stderr)
    kept_at = time.monotonic()
    async with local.bench.engine.running():
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task(title, total=total)

            def show(num_done: int) -> None:
                nonlocal kept_at
                progress.update(bar, completed=num_done)
                if time.monotonic() - kept_at > _SAVE_INTERVAL_S:
                    keep()
                    kept_at = time.monotonic()

            try:
                yield show
            finally:
                keep()
