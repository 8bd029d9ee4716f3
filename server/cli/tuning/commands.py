"""`softprompt tune`: from a file of examples to a version, on this machine or in a server."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from server.cli.errors import TuningProblem, UsageProblem
from server.cli.option_groups import takes_options
from server.cli.tuning.examples_file import read_example_file
from server.cli.tuning.options import GateOptions, PlanOptions, ServerOptions, TaskOptions
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import WorkbenchOptions


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
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Go on with this task's interrupted run; with --url, watch its job again.",
            show_default="where the run is this very one",
        ),
    ] = None,
    checkpoint_s: Annotated[
        float | None,
        typer.Option("--checkpoint-s", min=0, help="Seconds between two checkpoints of the run.", show_default="10"),
    ] = None,
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
    from server.tuning.split import tuning_data

    check_task_name(task)
    if save is None and not publish:
        raise UsageProblem("there is nothing to do with the result: give --save, or leave out --no-publish")
    here_only = {"--preview": preview, "--no-publish": not publish, "--checkpoint-s": checkpoint_s}
    server.check(place, plan, here_only)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both stop the run the same way
    began = time.monotonic()
    try:
        its_plan, its_gate = plan.plan(), gate.gate()
        training = read_example_file(train)
        judged_by = None if validation is None else read_example_file(validation)
        data = tuning_data(training, judged_by, its_plan.seed)
        files = (train, validation)
        digest = None if judged_by is None else judged_by.digest
        order = Order(task, files, data, plan, its_plan, about, its_gate, save, publish, resume, checkpoint_s, digest)
        if preview is not None:
            from server.cli.tuning.local import print_preview

            print_preview(order, place, preview)
            return
        if server.url is None:
            from server.cli.tuning.local import tune_here

            outcome = tune_here(order, place)
        else:
            from server.cli.tuning.remote import tune_there

            outcome = tune_there(order, server.url, server, base_model=place.base_model)
    except TuningError as error:
        raise TuningProblem(str(error)) from error
    from server.cli.tuning.outcome import print_outcome

    print_outcome(outcome, time.monotonic() - began, as_json=json)
