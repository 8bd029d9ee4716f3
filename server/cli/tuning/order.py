"""What one `softprompt tune` asks for, on this machine or in a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.cli.tuning.options import ExampleOptions, PlanOptions, RunOptions, TaskOptions

if TYPE_CHECKING:
    from server.tuning.gate import Gate
    from server.tuning.plan import TuningPlan
    from server.tuning.split import TuningData


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What is asked for, wherever it is done: checked, as far as that needs no base model.

    `data` is what the files of `examples` hold. `options` were given, `plan` is what they make.
    """

    task: str
    examples: ExampleOptions
    data: TuningData
    options: PlanOptions
    plan: TuningPlan
    about: TaskOptions
    gate: Gate | None
    run: RunOptions
