"""A tuning run on this machine, saved so that an interrupted run can be resumed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from prompts_store.errors import StoreError
from server.cli.errors import CliError, FilesProblem
from server.cli.output import one_line, print_table
from server.cli.tuning.conclusion import conclude
from server.cli.tuning.interruption import Interruption
from server.cli.tuning.order import Order
from server.cli.tuning.outcome import Outcome
from server.cli.tuning.teacher import answered, check_distillation, distillation_job
from server.cli.tuning.view import TuneView
from server.cli.tuning.workbench import LocalWorkbench, WorkbenchOptions, open_local_workbench
from server.engine.errors import EngineError
from server.tuning.distillation.state import unpack_state
from server.tuning.encoding import EncodedExample, encode_completion, encode_examples, preview
from server.tuning.errors import CheckpointUnreadable, RunNotKept, TuningError
from server.tuning.fit import Host, host_of
from server.tuning.heads import heads_of
from server.tuning.job import TuningJob
from server.tuning.kept_runs import KeptRun, KeptRuns, run_key
from server.tuning.run import TuningRun
from server.tuning.survival import notes_on_answers
from server.tuning.task_choice import answer_form, check_classes, plan_for

if TYPE_CHECKING:
    from server.tokenizer.tokenizer import Tokenizer
    from server.tuning.example_line import Example
    from server.tuning.notes import Note

CHECKPOINT_INTERVAL_S = 10.0


def tune_locally(order: Order, place: WorkbenchOptions) -> Outcome:
    """Tune on this machine. Raises CliError, StoreError, TuningError and EngineError.

    If an error occurs after the last step, the run stays saved. The same command then evaluates and publishes it.
    """
    with open_local_workbench(place) as local:
        begun_at = local.bench.store.revision()
        job = _job(local, order)
        _print_notes(order, job, local.bench.tokenizer)
        _print(_check(local, job))
        kept_runs = KeptRuns(local.data_dir, local.bench.base.fingerprint)
        kept = kept_runs.of(order.task, run_key(local.bench.base, job))
        with kept.held():
            if job.distillation is not None:
                job = answered(local, order, job, kept, _host(local))
            run = _begin(local, order, job, kept_runs, kept)
            interruption = Interruption()
            try:
                _drive(run, order, kept, interruption)
                outcome = conclude(local, order, job, run.result(), begun_at)
            except KeyboardInterrupt:
                done = f"stopped after step {run.step} of {run.num_steps}; the same command resumes the run"
                at_once = "stopped at once; the same command resumes the run from the last saved state"
                print(f"softprompt: {at_once if interruption.is_at_once else done}", file=sys.stderr)
                raise
            except (CliError, StoreError, TuningError, EngineError):
                if run.is_done and kept.path.exists():
                    print(
                        "softprompt: the run is saved; the same command resumes it after its last step", file=sys.stderr
                    )
                raise
            _forget(kept)
            return outcome


def print_preview(order: Order, place: WorkbenchOptions, num_examples: int) -> None:
    """Print examples token by token, with the learnt tokens marked. Raises CliError, StoreError and TuningError."""
    with open_local_workbench(place) as local:
        job, tokenizer = _job(local, order), local.bench.tokenizer
        shown = job.data.training[:num_examples]
        encoded = _encoding(local, job)(shown)
        for example, one in zip(shown, encoded, strict=True):
            where = _position_of(example, job.data.training)
            label = "" if one.label is None else f", for the label {example.completion!r}"
            print(f"{where}: {job.plan.num_virtual_tokens} virtual tokens, then {one.num_tokens} tokens{label}")
            tokens = preview(tokenizer, one)
            rows = [(token.token_id, repr(token.text), "learnt" if token.is_learnt else "") for token in tokens]
            print_table(("ID", "TOKEN", ""), rows)
        _print_notes(order, job, tokenizer)


def _position_of(example: Example, examples: Sequence[Example]) -> str:
    """Return the line of an example, and its number if the line is a conversation with several answers."""
    of_line = [one for one in examples if one.line == example.line]
    answer = "" if len(of_line) == 1 else f", answer {of_line.index(example) + 1} of {len(of_line)}"
    return f"line {example.line}{answer}"


def _print_notes(order: Order, job: TuningJob, tokenizer: Tokenizer) -> None:
    examples = (*order.data.training, *order.data.validation)
    is_plain = job.plan.has_head or job.distillation is not None
    on_answers = () if is_plain else notes_on_answers(tokenizer, examples, job.manifest.labels)
    _print((*order.data.notes, *on_answers))


def _print(notes: Sequence[Note]) -> None:
    for note in notes:
        print(one_line(note.text), file=sys.stderr)


def _job(local: LocalWorkbench, order: Order) -> TuningJob:
    bench = local.bench
    if order.distillation is not None:
        return distillation_job(local, order, order.distillation)
    assert order.plan is not None
    plan = plan_for(order.plan, bench.base.kind)
    if plan.has_head:
        check_classes(order.data.labels, order.data)
    servable = None if plan.has_head else partial(_host(local).longest_answer, plan)
    manifest = order.about.manifest(bench.manifest, order.data, bench.tokenizer, servable)
    return TuningJob(plan, order.data, manifest, bench.base_id, bench.end_token_id)


def _encoding(local: LocalWorkbench, job: TuningJob) -> Callable[[Sequence[Example]], tuple[EncodedExample, ...]]:
    """Return how the examples of a job are encoded."""
    bench = local.bench
    return partial(
        encode_examples,
        bench.tokenizer,
        job.manifest,
        end_token_id=job.end_token_id,
        max_tokens=bench.loaded.architecture.max_context - job.plan.num_virtual_tokens,
        form=answer_form(job.plan, bench.base.kind),
        labels=job.manifest.labels,
    )


def _host(local: LocalWorkbench) -> Host:
    bench = local.bench
    limit = bench.store.max_tensor_bytes
    return host_of(bench.engine, bench.base, bench.loaded, bench.tuning_memory_bytes, max_tensor_bytes=limit)


def _check(local: LocalWorkbench, job: TuningJob) -> tuple[Note, ...]:
    """Raise TuningError before training if the result could not be evaluated and served on this machine.

    Returns notes on examples that can be trained on, but not served.
    """
    bench, plan, data, host = local.bench, job.plan, job.data, _host(local)
    host.check_plan(plan)
    host.check_defaults(plan, job.manifest)
    if job.distillation is not None:
        check_distillation(local, job, host)
        return ()
    if plan.has_head:
        host.check_head(plan, len(job.manifest.labels))
    encode = _encoding(local, job)
    training, validation = encode(data.training), encode(data.validation)
    end, scored = job.end_token_id, () if plan.has_head else data.labels
    labels = [] if end is None else [encode_completion(bench.tokenizer, label, end) for label in scored]
    host.check_judged(plan, data.validation, validation, labels)
    for examples, encoded in ((data.training, training), (data.validation, validation)):
        host.check_memory(plan, examples, encoded)
    return host.notes_on_lengths(plan, training)


def _begin(local: LocalWorkbench, order: Order, job: TuningJob, kept_runs: KeptRuns, kept: KeptRun) -> TuningRun:
    """Return the interrupted run of this job, or a new run. Raises as `_interrupted` does."""
    run = _interrupted(local, order, job, kept_runs, kept)
    if run is not None:
        print(f"resuming after step {run.step} of {run.num_steps}", file=sys.stderr)
        return run
    if num_others := kept_runs.num_others(order.task, kept):
        print(f"unfinished runs of {order.task} with {_others(num_others, kept)}", file=sys.stderr)
    if kept_runs.of_earlier_release(order.task).exists():
        print(
            "an earlier release saved a run of this task without its base model; if it is yours, --resume resumes it",
            file=sys.stderr,
        )
    return _run(local, job)


def _run(local: LocalWorkbench, job: TuningJob, saved: bytes | None = None) -> TuningRun:
    bench = local.bench
    memory_bytes, heads = bench.tuning_memory_bytes, heads_of(bench.base)
    return TuningRun(bench.loaded, bench.tokenizer, job, saved, memory_bytes=memory_bytes, heads=heads)


def _interrupted(
    local: LocalWorkbench, order: Order, job: TuningJob, kept_runs: KeptRuns, kept: KeptRun
) -> TuningRun | None:
    """Return the interrupted run of this job, or None.

    With --resume there must be one, and a run that an earlier release saved is accepted. Raises FilesProblem if there
    is none, and CheckpointUnreadable if it is another job's.
    """
    if order.run.resume is False:
        return None
    old = KeptRun(kept_runs.of_earlier_release(order.task))
    source = old if order.run.resume and not kept.path.exists() else kept
    saved = source.read()
    if saved is None:
        if order.run.resume:
            num_others = kept_runs.num_others(order.task, kept)
            others = f"; there are some with {_others(num_others, kept)}" if num_others else ""
            raise FilesProblem(f"there is no interrupted run of this command to resume{others}")
        return None
    try:
        if job.distillation is not None and unpack_state(saved).run is None:
            return None
        run = _run(local, job, saved)
    except CheckpointUnreadable as error:
        if source is old:
            rules = "this release may split and read the examples differently; without --resume a new run starts"
            raise CheckpointUnreadable(f"{error} ({rules})") from error
        if order.run.resume:
            raise
        print(f"a new run starts: {error}", file=sys.stderr)
        return None
    if source is old:
        kept.adopt(old.path)
    return run


def _others(num_others: int, kept: KeptRun) -> str:
    return (
        f"other examples, settings or base models are saved in {kept.path.parent}: {num_others}; the command that "
        "started a run resumes it"
    )


def _drive(run: TuningRun, order: Order, kept: KeptRun, interruption: Interruption) -> None:
    """Advance a run to its end. Save it every few seconds and at the end, so that a kill loses little work.

    A signal stops it between two pieces of work, so that no half optimiser step is saved. Raises KeyboardInterrupt.
    """
    interval_s = CHECKPOINT_INTERVAL_S if order.run.checkpoint_s is None else order.run.checkpoint_s
    kept_at = time.monotonic()
    with interruption, TuneView(run, order.task, started_at=time.monotonic()) as view:
        while not (run.is_done or interruption.is_wanted):
            view.show(run.advance())
            if time.monotonic() - kept_at > interval_s:
                _keep(run, kept)
                kept_at = time.monotonic()
        if interruption.is_wanted:
            kept.write(run.checkpoint())
            raise KeyboardInterrupt
        _keep(run, kept)
    if interruption.is_wanted:  # a signal arrived while the finished run was being saved
        raise KeyboardInterrupt


def _forget(kept: KeptRun) -> None:
    """Remove the saved state of a concluded run. If it stays, it does no harm."""
    try:
        kept.forget()
    except RunNotKept as error:
        print(f"softprompt: {one_line(str(error))}", file=sys.stderr)


def _keep(run: TuningRun, kept: KeptRun) -> None:
    """Save the run. A full disk does not stop it, because a later state may find room and the result needs none."""
    try:
        kept.write(run.checkpoint())
    except RunNotKept as error:
        print(f"softprompt: {one_line(str(error))}; the run continues", file=sys.stderr)
