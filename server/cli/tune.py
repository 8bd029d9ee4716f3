"""`softprompt tune`: from a file of examples to a version, on this machine."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import FilesProblem, UsageProblem
from server.cli.examples_file import read_example_file
from server.cli.output import one_line, print_json, print_table
from server.cli.tune_options import GateOptions, PlanOptions, TaskOptions, takes_options
from server.cli.workbench import Place, WorkbenchOptions, open_place

if TYPE_CHECKING:
    from prompts_store.records import Manifest
    from server.cli.tune_outcome import Outcome
    from server.tuning.plan import TuningPlan
    from server.tuning.run import TuningJob, TuningRun
    from server.tuning.split import TuningData

CHECKPOINT_INTERVAL_S = 10.0


@takes_options
def tune(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.", show_default=False)],
    train: Annotated[Path, typer.Option("--train", metavar="FILE", help="Examples, JSONL.", show_default=False)],
    *,
    validation: Annotated[
        Path | None,
        typer.Option("--validation", metavar="FILE", help="Examples to judge by; else a tenth is held out."),
    ] = None,
    preview: Annotated[
        int | None, typer.Option("--preview", min=1, metavar="N", help="Show what the model sees of N examples; stop.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write a PEFT checkpoint, manifest and plot.")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Make it a version in the store.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with this task's interrupted run.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    about: TaskOptions,
    plan: PlanOptions,
    gate: GateOptions,
    place: WorkbenchOptions,
) -> None:
    """Tune a soft prompt from examples: {"prompt", "completion"}, {"text", "label"} or {"messages"}, one a line.

    Ctrl-C keeps what is done: the same command with --resume goes on. The result becomes a version in the store that
    `softprompt serve` reads, unless --no-publish is given.
    """
    from prompts_store.names import check_task_name
    from server.tuning.errors import TuningError
    from server.tuning.run import TuningRun
    from server.tuning.split import tuning_data

    check_task_name(task)
    if save is None and not publish:
        raise UsageProblem("there is nothing to do with the result: give --save, or leave out --no-publish")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both stop the run the same way
    try:
        its_plan, its_gate = plan.plan(), gate.gate()
        training = read_example_file(train)
        judged_by = None if validation is None else read_example_file(validation)
        data = tuning_data(training, judged_by, its_plan.seed)
        with open_place(place) as at:
            job = _job(at, about.manifest(at.bench.manifest, data, at.bench.tokenizer), data, its_plan)
            if preview is not None:
                _print_preview(at, job, preview)
                return
            for note in data.notes:
                print(one_line(note), file=sys.stderr)
            kept = KeptRun(at.data_dir / "tuning" / f"{task}.safetensors")
            began = time.monotonic()
            run = TuningRun(at.bench.loaded, at.bench.tokenizer, job, kept.read() if resume else None)
            _drive(run, task, kept)
            from server.cli.tune_outcome import conclude

            outcome = conclude(at, task, job, run.result(), its_gate, save=save, publish=publish)
            kept.forget()
    except TuningError as error:
        raise FilesProblem(str(error)) from error
    _print_outcome(outcome, time.monotonic() - began, as_json=json)


class KeptRun:
    """Where an unfinished run is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """Return the checkpoint. Raises FilesProblem."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise FilesProblem(f"there is no interrupted run to go on with: cannot read {self.path}") from error

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


def _job(at: Place, manifest: Manifest, data: TuningData, plan: TuningPlan) -> TuningJob:
    from server.tuning.run import TuningJob

    return TuningJob(plan, data, manifest, at.bench.base_id, at.bench.end_token_id)


def _drive(run: TuningRun, task: str, kept: KeptRun) -> None:
    """Do a run's work to its end, kept every few seconds. An interruption keeps it too, says so and goes on up."""
    from server.cli.tune_view import TuneView

    kept_at = time.monotonic()
    try:
        with TuneView(run, task) as view:
            while not run.is_done:
                view.show(run.advance())
                if time.monotonic() - kept_at > CHECKPOINT_INTERVAL_S:
                    kept.write(run.checkpoint())
                    kept_at = time.monotonic()
    except KeyboardInterrupt:
        kept.write(run.checkpoint())
        done = f"stopped after step {run.step} of {run.num_steps}"
        print(f"softprompt: {done}; the same command with --resume goes on", file=sys.stderr)
        raise


def _print_preview(at: Place, job: TuningJob, num_examples: int) -> None:
    """Print examples token by token; what is learnt is marked."""
    from server.tuning.encoding import encode_examples, preview

    room = at.bench.loaded.architecture.max_context - job.plan.num_virtual_tokens
    shown = job.data.training[:num_examples]
    encoded = encode_examples(at.bench.tokenizer, job.manifest, shown, end_token_id=job.end_token_id, max_tokens=room)
    for example, one in zip(shown, encoded, strict=True):
        print(f"line {example.line}: {job.plan.num_virtual_tokens} virtual tokens, then {one.num_tokens} tokens")
        tokens = preview(at.bench.tokenizer, one)
        rows = [(token.token_id, repr(token.text), "learnt" if token.is_learnt else "") for token in tokens]
        print_table(("ID", "TOKEN", ""), rows)


def _print_outcome(outcome: Outcome, seconds: float, *, as_json: bool) -> None:
    if as_json:
        print_json({**outcome.as_json(), "seconds": round(seconds, 1)})
        return
    from server.cli.evaluate import print_scores

    print_scores(outcome.scores)
    for line in outcome.news:
        print(line)
    print(f"{outcome.num_steps} steps in {seconds:.0f} s")
