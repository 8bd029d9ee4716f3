"""A tuning run on this machine, kept so that it survives an interruption."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from prompts_store.errors import StoreError
from server.cli.errors import CliError, FilesProblem
from server.cli.output import one_line, print_table
from server.cli.tuning.conclusion import conclude
from server.cli.tuning.interruption import Interruption
from server.cli.tuning.order import Order
from server.cli.tuning.outcome import Outcome
from server.cli.tuning.view import TuneView
from server.cli.tuning.workbench import Place, WorkbenchOptions, open_place
from server.engine.errors import EngineError
from server.tuning.encoding import encode_completion, encode_examples, preview
from server.tuning.errors import CheckpointUnreadable, RunNotKept, TuningError
from server.tuning.fit import Host, host_of
from server.tuning.kept_runs import KeptRun, KeptRuns, run_key
from server.tuning.run import TuningJob, TuningRun
from server.tuning.survival import notes_on_answers

if TYPE_CHECKING:
    from server.tokenizer.tokenizer import Tokenizer
    from server.tuning.examples import Example

CHECKPOINT_INTERVAL_S = 10.0


def tune_here(order: Order, place: WorkbenchOptions) -> Outcome:
    """Tune on this machine. Raises CliError, StoreError, TuningError and EngineError.

    Whatever fails once the run has ended, the run is kept: the same command judges and publishes it.
    """
    with open_place(place) as at:
        begun_at = at.bench.store.revision()
        job = _job(at, order)
        _print_notes(order, job, at.bench.tokenizer)
        _check(at, job)
        kept_runs = KeptRuns(at.data_dir, at.bench.base.fingerprint)
        kept = kept_runs.of(order.task, run_key(at.bench.base, job))
        with kept.held():
            run = _begin(at, order, job, kept_runs, kept)
            interruption = Interruption()
            try:
                _drive(run, order, kept, interruption)
                outcome = conclude(at, order, job, run.result(), begun_at)
            except KeyboardInterrupt:
                done = f"stopped after step {run.step} of {run.num_steps}; the same command goes on"
                at_once = "stopped at once; the same command goes on from the state that was kept last"
                print(f"softprompt: {at_once if interruption.is_at_once else done}", file=sys.stderr)
                raise
            except (CliError, StoreError, TuningError, EngineError):
                if run.is_done and kept.path.exists():
                    print("softprompt: the run is kept; the same command goes on from its end", file=sys.stderr)
                raise
            _forget(kept)
            return outcome


def print_preview(order: Order, place: WorkbenchOptions, num_examples: int) -> None:
    """Print examples token by token; what is learnt is marked. Raises CliError, StoreError and TuningError."""
    with open_place(place) as at:
        job, tokenizer = _job(at, order), at.bench.tokenizer
        room = at.bench.loaded.architecture.max_context - job.plan.num_virtual_tokens
        shown = job.data.training[:num_examples]
        encoded = encode_examples(tokenizer, job.manifest, shown, end_token_id=job.end_token_id, max_tokens=room)
        for example, one in zip(shown, encoded, strict=True):
            where = _place_of(example, job.data.training)
            print(f"{where}: {job.plan.num_virtual_tokens} virtual tokens, then {one.num_tokens} tokens")
            tokens = preview(tokenizer, one)
            rows = [(token.token_id, repr(token.text), "learnt" if token.is_learnt else "") for token in tokens]
            print_table(("ID", "TOKEN", ""), rows)
        _print_notes(order, job, tokenizer)


def _place_of(example: Example, examples: Sequence[Example]) -> str:
    """The line, and of a conversation of several answers which one."""
    of_line = [one for one in examples if one.line == example.line]
    answer = "" if len(of_line) == 1 else f", answer {of_line.index(example) + 1} of {len(of_line)}"
    return f"line {example.line}{answer}"


def _print_notes(order: Order, job: TuningJob, tokenizer: Tokenizer) -> None:
    examples = (*order.data.training, *order.data.validation)
    for note in (*order.data.notes, *notes_on_answers(tokenizer, examples, job.manifest.labels)):
        print(one_line(note), file=sys.stderr)


def _job(at: Place, order: Order) -> TuningJob:
    bench = at.bench
    servable = partial(_host(at).longest_answer, order.plan)
    manifest = order.about.manifest(bench.manifest, order.data, bench.tokenizer, servable)
    return TuningJob(order.plan, order.data, manifest, bench.base_id, bench.end_token_id)


def _host(at: Place) -> Host:
    bench = at.bench
    limit = bench.store.max_tensor_bytes
    return host_of(bench.engine, bench.base, bench.loaded, bench.tuning_memory_bytes, max_tensor_bytes=limit)


def _check(at: Place, job: TuningJob) -> None:
    """Raise TuningError for what could never be judged and served here, before anything is trained."""
    bench, plan, data, host = at.bench, job.plan, job.data, _host(at)
    host.check_plan(plan)
    host.check_defaults(plan, job.manifest)
    room = bench.loaded.architecture.max_context - plan.num_virtual_tokens
    encode = partial(encode_examples, bench.tokenizer, job.manifest, end_token_id=job.end_token_id, max_tokens=room)
    learnt, judged = encode(data.training), encode(data.validation)
    labels = [encode_completion(bench.tokenizer, label, job.end_token_id) for label in data.labels]
    host.check_judged(plan, data.validation, judged, labels)
    for examples, encoded in ((data.training, learnt), (data.validation, judged)):
        host.check_memory(plan, examples, encoded)


def _begin(at: Place, order: Order, job: TuningJob, kept_runs: KeptRuns, kept: KeptRun) -> TuningRun:
    """The interrupted run of this very job, or a new one. Raises as `_interrupted` does."""
    run = _interrupted(at, order, job, kept_runs, kept)
    if run is not None:
        print(f"going on after step {run.step} of {run.num_steps}", file=sys.stderr)
        return run
    if num_others := kept_runs.num_others(order.task, kept):
        print(f"unfinished runs of {order.task} with {_others(num_others, kept)}", file=sys.stderr)
    if kept_runs.of_earlier_release(order.task).exists():
        print(
            "an earlier release kept a run of this task without its base model: if it is this one's, --resume goes on",
            file=sys.stderr,
        )
    return TuningRun(at.bench.loaded, at.bench.tokenizer, job)


def _interrupted(at: Place, order: Order, job: TuningJob, kept_runs: KeptRuns, kept: KeptRun) -> TuningRun | None:
    """The interrupted run of this very job, if it may be gone on with.

    With --resume there must be one, and that of an earlier release will do: raises FilesProblem, and
    CheckpointUnreadable for that of another job.
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
            raise FilesProblem(f"there is no interrupted run of this command to go on with{others}")
        return None
    try:
        run = TuningRun(at.bench.loaded, at.bench.tokenizer, job, saved)
    except CheckpointUnreadable as error:
        if source is old:
            rules = "this release may hold out and read examples otherwise; without --resume the run begins anew"
            raise CheckpointUnreadable(f"{error} ({rules})") from error
        if order.run.resume:
            raise
        print(f"the run begins anew: {error}", file=sys.stderr)
        return None
    if source is old:
        kept.adopt(old.path)
    return run


def _others(num_others: int, kept: KeptRun) -> str:
    return (
        f"other examples, settings or base models are kept near {kept.path.parent}: {num_others}; the command that "
        "began one goes on with it"
    )


def _drive(run: TuningRun, order: Order, kept: KeptRun, interruption: Interruption) -> None:
    """Do a run's work to its end, kept every few seconds and at the end, so that not even a kill loses more.

    A signal ends it between two pieces, so that what is kept is never half an optimiser step; raises KeyboardInterrupt.
    """
    interval_s = CHECKPOINT_INTERVAL_S if order.run.checkpoint_s is None else order.run.checkpoint_s
    kept_at = time.monotonic()
    with interruption, TuneView(run, order.task) as view:
        while not (run.is_done or interruption.is_wanted):
            view.show(run.advance())
            if time.monotonic() - kept_at > interval_s:
                _keep(run, kept)
                kept_at = time.monotonic()
        if interruption.is_wanted:
            kept.write(run.checkpoint())
            raise KeyboardInterrupt
        _keep(run, kept)
    if interruption.is_wanted:  # a signal while the whole run was kept
        raise KeyboardInterrupt


def _forget(kept: KeptRun) -> None:
    """Remove the state of a run that is concluded; one that stays does no harm."""
    try:
        kept.forget()
    except RunNotKept as error:
        print(f"softprompt: {one_line(str(error))}", file=sys.stderr)


def _keep(run: TuningRun, kept: KeptRun) -> None:
    """Keep the run; a full disk is no reason to stop, since a later state may find room and the result needs none."""
    try:
        kept.write(run.checkpoint())
    except RunNotKept as error:
        print(f"softprompt: {one_line(str(error))}; it goes on", file=sys.stderr)
