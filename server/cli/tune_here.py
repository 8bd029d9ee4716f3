"""A tuning run on this machine, kept so that it survives an interruption."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.errors import FilesProblem
from server.cli.output import one_line, print_table
from server.cli.tune_conclusion import conclude
from server.cli.tune_outcome import Outcome
from server.cli.tune_view import TuneView
from server.cli.workbench import Place, WorkbenchOptions, open_place
from server.tuning.encoding import encode_completion, encode_examples, preview
from server.tuning.errors import CheckpointUnreadable
from server.tuning.fit import host_of
from server.tuning.run import TuningJob, TuningRun

if TYPE_CHECKING:
    from server.cli.tune import Order

CHECKPOINT_INTERVAL_S = 10.0


def tune_here(order: Order, place: WorkbenchOptions) -> Outcome:
    """Tune on this machine. Raises CliError, StoreError, TuningError and EngineError."""
    with open_place(place) as at:
        job = _job(at, order)
        for note in order.data.notes:
            print(one_line(note), file=sys.stderr)
        _check(at, job)
        kept = KeptRun(at.data_dir / "tuning" / f"{order.task}.safetensors")
        run = _begin(at, order, job, kept)
        try:
            _drive(run, order, kept)
            outcome = conclude(at, order, job, run.result())
        except KeyboardInterrupt:
            kept.write(run.checkpoint())
            done = f"stopped after step {run.step} of {run.num_steps}"
            print(f"softprompt: {done}; the same command goes on", file=sys.stderr)
            raise
        kept.forget()
        return outcome


def print_preview(order: Order, place: WorkbenchOptions, num_examples: int) -> None:
    """Print examples token by token; what is learnt is marked. Raises CliError, StoreError and TuningError."""
    with open_place(place) as at:
        job, tokenizer = _job(at, order), at.bench.tokenizer
        room = at.bench.loaded.architecture.max_context - job.plan.num_virtual_tokens
        shown = job.data.training[:num_examples]
        encoded = encode_examples(tokenizer, job.manifest, shown, end_token_id=job.end_token_id, max_tokens=room)
        for example, one in zip(shown, encoded, strict=True):
            print(f"line {example.line}: {job.plan.num_virtual_tokens} virtual tokens, then {one.num_tokens} tokens")
            tokens = preview(tokenizer, one)
            rows = [(token.token_id, repr(token.text), "learnt" if token.is_learnt else "") for token in tokens]
            print_table(("ID", "TOKEN", ""), rows)


class KeptRun:
    """Where an unfinished run is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """Return the checkpoint, if there is one. Raises FilesProblem."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FilesProblem(f"cannot read {self.path}: {error.strerror}") from error

    def write(self, checkpoint: bytes) -> None:
        """Replace the checkpoint, wholly or not at all. Raises FilesProblem."""
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(checkpoint)
            beside.replace(self.path)
        except OSError as error:
            raise FilesProblem(f"the run cannot be kept in {self.path}: {error.strerror}") from error

    def forget(self) -> None:
        """Remove the checkpoint, if there is one."""
        self.path.unlink(missing_ok=True)


def _job(at: Place, order: Order) -> TuningJob:
    bench = at.bench
    manifest = order.about.manifest(bench.manifest, order.data, bench.tokenizer)
    return TuningJob(order.plan, order.data, manifest, bench.base_id, bench.end_token_id)


def _check(at: Place, job: TuningJob) -> None:
    """Raise TuningError for what could never be judged and served here, before anything is trained."""
    bench, plan, data = at.bench, job.plan, job.data
    host = host_of(bench.engine, bench.base, bench.loaded)
    host.check_plan(plan)
    host.check_defaults(plan, job.manifest)
    room = bench.loaded.architecture.max_context - plan.num_virtual_tokens
    encode = partial(encode_examples, bench.tokenizer, job.manifest, end_token_id=job.end_token_id, max_tokens=room)
    judged = encode(data.validation)
    labels = [encode_completion(bench.tokenizer, label, job.end_token_id) for label in data.labels]
    host.check_judged(plan, data.validation, judged, labels)
    for examples, encoded in ((data.training, encode(data.training)), (data.validation, judged)):
        host.check_memory(plan, examples, encoded)


def _begin(at: Place, order: Order, job: TuningJob, kept: KeptRun) -> TuningRun:
    """The interrupted run of this very job, or a new one.

    With --resume there must be one: raises FilesProblem, and CheckpointUnreadable for that of another job.
    """
    saved = None if order.resume is False else kept.read()
    if saved is not None:
        try:
            run = TuningRun(at.bench.loaded, at.bench.tokenizer, job, saved)
        except CheckpointUnreadable as error:
            if order.resume:
                raise
            print(f"the run begins anew: {error}", file=sys.stderr)
        else:
            print(f"going on after step {run.step} of {run.num_steps}", file=sys.stderr)
            return run
    elif order.resume:
        raise FilesProblem(f"there is no interrupted run to go on with: {kept.path} is not there")
    return TuningRun(at.bench.loaded, at.bench.tokenizer, job)


def _drive(run: TuningRun, order: Order, kept: KeptRun) -> None:
    """Do a run's work to its end, kept every few seconds and at the end, so that not even a kill loses more."""
    interval_s = CHECKPOINT_INTERVAL_S if order.checkpoint_s is None else order.checkpoint_s
    kept_at = time.monotonic()
    with TuneView(run, order.task) as view:
        while not run.is_done:
            view.show(run.advance())
            if time.monotonic() - kept_at > interval_s:
                kept.write(run.checkpoint())
                kept_at = time.monotonic()
    kept.write(run.checkpoint())
