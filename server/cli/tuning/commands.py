"""`softprompt tune`: from a file of examples to a version, on this machine or in a server."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import TuningProblem, UsageProblem
from server.cli.option_groups import takes_options
from server.cli.tuning.examples_file import read_example_file
from server.cli.tuning.options import GateOptions, PlanOptions, RunOptions, ServerOptions, TaskOptions
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import WorkbenchOptions

if TYPE_CHECKING:
    from server.cli.tuning.outcome import Outcome
    from server.tuning.split import TuningData


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
    run: RunOptions,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    about: TaskOptions,
    plan: PlanOptions,
    gate: GateOptions,
    place: WorkbenchOptions,
    server: ServerOptions,
) -> None:
    """Tune a soft prompt from examples: {"prompt", "completion"}, {"text", "label"} or {"messages"}, one a line.

    Ctrl-C keeps what is done, and so does a kill, up to the last checkpoint: the same command goes on. The result
    becomes a version in the store that `softprompt serve` reads, unless --no-publish is given.

    With --url a running server tunes, and this command shows how it gets on. Ctrl-C then leaves the job to the server,
    or ends it where --cancel-on-interrupt is given.
    """
    from prompts_store.names import check_task_name
    from server.tuning.errors import TuningError

    check_task_name(task)
    if run.save is None and not run.publish:
        raise UsageProblem("there is nothing to do with the result: give --save, or leave out --no-publish")
    here_only = {"--preview": preview, "--no-publish": not run.publish, "--checkpoint-s": run.checkpoint_s}
    server.check(place, plan, here_only)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both stop the run the same way
    began = time.monotonic()
    try:
        its_plan, its_gate = plan.plan(), gate.gate()
        data, digest = _read_data(train, validation, its_plan.seed)
        order = Order(task, (train, validation), data, plan, its_plan, about, its_gate, run, digest)
        if preview is not None:
            from server.cli.tuning.local import print_preview

            print_preview(order, place, preview)
            return
        outcome = _tune(order, place, server)
    except TuningError as error:
        raise TuningProblem(str(error)) from error
    from server.cli.tuning.outcome import print_outcome

    print_outcome(outcome, time.monotonic() - began, as_json=json)


def _read_data(train: Path, validation: Path | None, seed: int) -> tuple[TuningData, str | None]:
    """The examples, and the digest of the validation file, if there is one."""
    from server.tuning.split import tuning_data

    training = read_example_file(train)
    judged_by = None if validation is None else read_example_file(validation)
    return tuning_data(training, judged_by, seed), None if judged_by is None else judged_by.digest


def _tune(order: Order, place: WorkbenchOptions, server: ServerOptions) -> Outcome:
    if server.url is None:
        from server.cli.tuning.local import tune_here

        return tune_here(order, place)
    from server.cli.tuning.remote import tune_there

    return tune_there(order, server.url, server, base_model=place.base_model)
