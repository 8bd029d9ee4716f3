"""The task types that a base model takes, and the prompt types that PEFT runs with each."""

from __future__ import annotations

from collections.abc import Mapping

from prompts_store.checkpoint_records import BaseKind, BaseModel, PeftType, TaskType
from prompts_store.errors import UnsupportedTaskType

PARAM = "adapter_config"

_HEADS = tuple(task_type for task_type in TaskType if task_type.has_head)
_TAKEN: Mapping[BaseKind, tuple[TaskType, ...]] = {
    BaseKind.DECODER: (TaskType.CAUSAL_LM, *_HEADS),
    BaseKind.ENCODER: _HEADS,
    BaseKind.ENCODER_DECODER: (TaskType.SEQ_2_SEQ_LM,),
}
_WITHOUT_TASK_INDEX = (TaskType.QUESTION_ANS, TaskType.FEATURE_EXTRACTION)


def check_task_type(task_type: TaskType | None, peft_type: PeftType, base: BaseModel) -> None:
    """Raise UnsupportedTaskType for a combination that the base model, transformers or PEFT does not have.

    None stands for the generating type of the base model.
    """
    if problem := _problem(task_type, peft_type, base):
        raise UnsupportedTaskType(problem, param=PARAM)


def _problem(task_type: TaskType | None, peft_type: PeftType, base: BaseModel) -> str | None:
    taken = _TAKEN[base.kind]
    listed = ", ".join(taken)
    if task_type is None:
        if base.kind is BaseKind.ENCODER:
            return f"The checkpoint names no task_type, and an encoder generates no text; it takes {listed}."
        task_type = taken[0]
    if task_type not in taken:
        return f"The checkpoint is for {task_type}; the base model is of the kind {base.kind}, which takes {listed}."
    if task_type.has_head and task_type not in base.heads:
        return f"transformers has no class for {task_type} that loads the weights of the base model's architecture."
    if peft_type is PeftType.CPT and task_type is not TaskType.CAUSAL_LM:
        return f"CPT is for CAUSAL_LM alone, in PEFT too; the checkpoint is for {task_type}."
    if peft_type is PeftType.MULTITASK_PROMPT_TUNING and task_type in _WITHOUT_TASK_INDEX:
        return f"PEFT gives its model for {task_type} no task index, so MULTITASK_PROMPT_TUNING does not run with it."
    return None
