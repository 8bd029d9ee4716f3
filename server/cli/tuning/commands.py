"""`softprompt tune`: from a file of examples to a version, on this machine or in a server."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.errors import TuningProblem
from server.cli.option_groups import takes_options
from server.cli.tuning.options import ExampleOptions, GateOptions, PlanOptions, RunOptions, ServerOptions, TaskOptions
from server.cli.tuning.order import Order
from server.cli.tuning.workbench import WorkbenchOptions

if TYPE_CHECKING:
    from server.cli.tuning.outcome import Outcome


@takes_options
def tune(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.", show_default=False)],
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
    """Tune a soft prompt from examples: {"prompt", "completion"}, {"text", "label"} or {"messages"}, one a line.

    Ctrl-C keeps what is done, and so does a kill, up to the last checkpoint: the same command goes on. The result
    becomes a version in the store that `softprompt serve` reads, unless --no-publish is given.

    With --url a running server tunes, and this command shows how it gets on. Ctrl-C then leaves the job to the server,
    or ends it where --cancel-on-interrupt is given.
    """
    from prompts_store.names import check_task_name
    from server.tuning.errors import TuningError

    check_task_name(task)
    run.check()
    server.check(place, plan, run.here_only())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both stop the run the same way
    began = time.monotonic()
    try:
        its_plan, its_gate = plan.plan(), gate.gate()
        order = Order(task, examples, examples.read(its_plan.seed), plan, its_plan, about, its_gate, run)
        if run.preview is not None:
            from server.cli.tuning.local import print_preview

            print_preview(order, place, run.preview)
            return
        outcome = _tune(order, place, server)
    except TuningError as error:
        raise TuningProblem(str(error)) from error
    from server.cli.tuning.outcome import print_outcome

    print_outcome(outcome, time.monotonic() - began, as_json=json)


def _tune(order: Order, place: WorkbenchOptions, server: ServerOptions) -> Outcome:
    if server.url is None:
        from server.cli.tuning.local import tune_here

        return tune_here(order, place)
    from server.cli.tuning.remote import tune_there

    return tune_there(order, server.url, server, base_model=place.base_model)
