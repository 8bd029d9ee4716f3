"""The heads of a base model, and of the versions that are scored."""

from __future__ import annotations

from collections.abc import Sequence

from prompts_store.checkpoint_records import BaseModel, Checkpoint, TaskType
from prompts_store.manifest import Manifest
from server.model.heads.head import Head
from server.model.heads.heads import Heads
from server.tuning.errors import EvaluationFailed


def heads_of(base: BaseModel) -> Heads | None:
    """The heads of a base model that is loaded; None of one that is only described."""
    return base.heads if isinstance(base.heads, Heads) else None


def build_heads(base: BaseModel, name: str, checkpoints: Sequence[Checkpoint], manifest: Manifest) -> tuple[Head, ...]:
    """The head of each checkpoint of the version `name`; none of checkpoints that generate text.

    Raises `ModelError`, and `EvaluationFailed` for a head that gives no label of a text.
    """
    with_head = [one for one in checkpoints if one.task_type is not None and one.task_type.has_head]
    if not with_head:
        return ()
    task_type = with_head[0].task_type
    if task_type is not TaskType.SEQ_CLS:
        message = f"{name} is for {task_type}, and examples have texts, with a label or a completion each"
        raise EvaluationFailed(message, code="request_refused")
    heads = heads_of(base)
    assert heads is not None, "a version with a head is scored on a base model that is loaded"
    return tuple(heads.build(checkpoint, manifest) for checkpoint in with_head)
