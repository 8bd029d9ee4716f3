"""`softprompt tune`: makes a version from a file of examples, on this machine or on a server."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import TuningProblem
from server.cli.option_groups import takes_options
from server.cli.tuning.options import ExampleOptions, GateOptions, PlanOptions, RunOptions, ServerOptions, TaskOptions
from server.cli.tuning.order import Order, order_of
from server.cli.tuning.workbench import WorkbenchOptions

if TYPE_CHECKING:
    from server.cli.tuning.outcome import Outcome


@takes_options
def tune(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.", show_default=False)],
    *,
    examples: ExampleOptions,
    run: RunOptions,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    about: TaskOptions,
    plan: PlanOptions,
    gate: GateOptions,
    place: WorkbenchOptions,
    server: ServerOptions,
) -> None:
    """Tune a soft prompt on examples: {"prompt", "completion"}, {"text", "label"} or {"messages"}, one per line.

    Ctrl-C saves the run; a kill loses the work since the last checkpoint. The same command then resumes the run. The
    result becomes a version in the store that `softprompt serve` reads, unless --no-publish is given.

    With --url, a running server tunes, and this command shows its progress. Ctrl-C then leaves the job to the server,
    or cancels it if --cancel-on-interrupt is given.
    """
    from server.tuning.errors import TuningError

    run.check()
    server.check(place, plan, run.local_only())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then stops the run as Ctrl-C does
    began = time.monotonic()
    try:
        order = order_of(task, examples, plan, about, gate, run)
        if run.preview is not None:
            from server.cli.tuning.local import print_preview

            print_preview(order, place, run.preview)
            return
        outcome = carry_out(order, place, server)
    except TuningError as error:
        raise TuningProblem(str(error)) from error
    from server.cli.tuning.outcome import print_outcome

    print_outcome(outcome, time.monotonic() - began, as_json=json)


def carry_out(order: Order, place: WorkbenchOptions, server: ServerOptions) -> Outcome:
    """Tune or distil, on a server if one is given. Raises CliError, StoreError, TuningError and EngineError."""
    if server.url is None:
        from server.cli.tuning.local import tune_locally

        return tune_locally(order, place)
    from server.cli.tuning.remote import tune_remotely

    return tune_remotely(order, server.url, server, base_model=place.base_model)
