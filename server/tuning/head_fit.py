"""Limits of the head that a run trains: its parts, its labels, its bytes and its memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prompts_store.checkpoint_records import BaseModel
from prompts_store.manifest import MAX_LABELS
from server.tuning.cost import MORE_MEMORY, bytes_of_copies, parameter_bytes, too_much
from server.tuning.errors import ExamplesRefused, PlanRefused
from server.tuning.models.head_twin import is_trained
from server.tuning.plan import TuningPlan

_CODE = "too_many_labels"


def check_task_type(plan: TuningPlan, base: BaseModel) -> None:
    """Raise `PlanRefused` for a head that could not be trained, saved or served on this base model."""
    if not plan.has_head:
        return
    assert plan.task_type is not None
    shapes = base.heads.get(plan.task_type)
    if shapes is None:
        message = f"is {plan.task_type}, and transformers has no class for it over the base model's architecture"
        raise PlanRefused(message, param="task_type")
    lost = [name for name in shapes.shapes if name not in shapes.held and not is_trained(name)]
    if lost:
        message = f"is {plan.task_type}, and its head has {lost[0]}, which neither the base model nor PEFT saves"
        raise PlanRefused(message, param="task_type")


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """The head of a plan that `check_task_type` accepts, with `num_labels` labels."""

    plan: TuningPlan
    base: BaseModel
    num_labels: int

    def check_size(self, num_beside: int, max_tensor_bytes: int) -> None:
        """Raise `ExamplesRefused` for more labels, or bytes, than a version may have.

        `num_beside` numbers are the soft prompt's.
        """
        if self.num_labels > MAX_LABELS:
            message = f"there are {self.num_labels} labels, and a version has at most {MAX_LABELS}"
            raise ExamplesRefused(message, code=_CODE)
        num_bytes = 4 * (num_beside + self._num_values)
        if num_bytes > max_tensor_bytes:
            message = f"{self.num_labels} labels make a version of {num_bytes} bytes with its head"
            limit = f"at most {max_tensor_bytes} are published (--max-tensor-bytes)"
            raise ExamplesRefused(f"{message}, and {limit}", code=_CODE)

    def check_memory(self, room: int) -> None:
        """Raise `ExamplesRefused` where soft prompt and head take more than `room` bytes in a run."""
        needed = parameter_bytes(self.plan, self.base) + bytes_of_copies(self._num_values)
        if needed > room:
            message = f"the training of a head of {self.num_labels} labels takes {too_much(needed, room)}"
            raise ExamplesRefused(f"{message}: use fewer labels, {MORE_MEMORY}", code=_CODE)

    @property
    def _num_values(self) -> int:
        """Numbers of the parameters that PEFT trains and saves."""
        assert self.plan.task_type is not None
        shapes = self.base.heads[self.plan.task_type].shapes
        trained = [shape for name, shape in shapes.items() if is_trained(name)]
        return sum(math.prod(self.num_labels if size is None else size for size in shape) for shape in trained)
