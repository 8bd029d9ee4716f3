"""The parameters of one `softprompt tune` or `distil`, on this machine or on a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.errors import UsageProblem
from server.cli.tuning.options import ExampleOptions, GateOptions, PlanOptions, RunOptions, TaskOptions

if TYPE_CHECKING:
    from server.tuning.gate import Gate
    from server.tuning.plan import TuningPlan
    from server.tuning.split import TuningData
    from server.tuning.teaching import Distillation


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The parameters of one run, after all checks that need no base model.

    `data` is the content of `files`: the training file, or the document, and perhaps the validation file. `plan` comes
    from `options`; it is None in a distillation, whose plan needs the base model's tokenizer.
    """

    task: str
    files: tuple[Path, ...]
    data: TuningData
    options: PlanOptions
    plan: TuningPlan | None
    about: TaskOptions
    gate: Gate | None
    run: RunOptions
    distillation: Distillation | None = None


def order_of(
    task: str, examples: ExampleOptions, options: PlanOptions, about: TaskOptions, gate: GateOptions, run: RunOptions
) -> Order:
    """Check the options and read the examples. Raises CliError, InvalidName and TuningError."""
    from prompts_store.names import check_task_name

    check_task_name(task)
    plan = options.plan()
    its_gate = gate.gate()
    if its_gate is not None and its_gate.metric == "agreement":
        raise UsageProblem("--gate-metric agreement is of `softprompt distil`, which has a teacher to agree with")
    files = (examples.train,) if examples.validation is None else (examples.train, examples.validation)
    return Order(task, files, examples.read(plan.seed), options, plan, about, its_gate, run)
