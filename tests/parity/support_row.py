"""What is known of one architecture after it was tried."""

from __future__ import annotations

from dataclasses import dataclass, field

from prompts_store.checkpoint_records import BaseKind, TaskType

EXACT = "exact"
_HEADS = tuple(task_type for task_type in TaskType if task_type.has_head)
TASK_TYPES: dict[BaseKind, tuple[TaskType, ...]] = {
    BaseKind.DECODER: (TaskType.CAUSAL_LM, *_HEADS),
    BaseKind.ENCODER_DECODER: (TaskType.SEQ_2_SEQ_LM, *_HEADS),
    BaseKind.ENCODER: _HEADS,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture: per task type and PEFT type "exact", or the reason against it.

    `refused` is the server's reason against the architecture itself; then there are no cells. `failed` says what broke
    the comparison: such a row is no result.
    """

    kind: BaseKind
    name: str
    model_type: str
    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: str | None = None
    failed: str | None = None
    seconds: float = 0.0
