"""The fields of a manifest that a task type has, and those that it would ignore."""

from __future__ import annotations

from collections.abc import Mapping

from prompts_store.checkpoint_records import BaseKind, ParsedCheckpoint, TaskType
from prompts_store.errors import InvalidManifest
from prompts_store.manifest import Manifest, Pooling, ProblemType

_GENERATING = ("stop", "defaults")
_OF_HEADS: Mapping[TaskType, tuple[str, ...]] = {
    TaskType.SEQ_CLS: ("template", "chat_template", "labels", "problem_type"),
    TaskType.TOKEN_CLS: ("labels",),
    TaskType.QUESTION_ANS: (),
    TaskType.FEATURE_EXTRACTION: ("template", "chat_template", "pooling", "normalize"),
}
_CHECKED = ("template", "chat_template", "labels", *_GENERATING, "pooling", "normalize", "problem_type")
_UNSET = Manifest()


def check_task_fields(checkpoint: ParsedCheckpoint, manifest: Manifest) -> None:
    """Raise InvalidManifest for a field that this task type would ignore, or that does not fit the head."""
    task_type = checkpoint.task_type
    if task_type is None or not task_type.has_head:
        allowed: tuple[str, ...] = ("template", "chat_template", "labels", *_GENERATING)
        kind = "that generates text"
    else:
        allowed, kind = _OF_HEADS[task_type], f"for {task_type}"
    for field in _CHECKED:
        if field not in allowed and getattr(manifest, field) != getattr(_UNSET, field):
            raise _refusal(field, f"means nothing to a version {kind}; leave it out")
    if checkpoint.num_labels is not None:
        _check_labels(checkpoint.num_labels, manifest)
    if manifest.pooling is Pooling.FIRST and checkpoint.base.kind is not BaseKind.ENCODER:
        raise _refusal("pooling", 'is "first", which only an encoder has: on a decoder the first row sees no text')


def _check_labels(num_labels: int, manifest: Manifest) -> None:
    if manifest.labels and len(manifest.labels) != num_labels:
        raise _refusal("labels", f"has {len(manifest.labels)} labels, but the head has {num_labels} outputs")
    if manifest.problem_type is ProblemType.REGRESSION and manifest.labels:
        raise _refusal("labels", "are not given to the numbers of a regression; leave them out")
    if manifest.problem_type is ProblemType.SINGLE_LABEL and num_labels == 1:
        raise _refusal("problem_type", "needs at least two outputs to choose from; the head has one")


def _refusal(field: str, problem: str) -> InvalidManifest:
    return InvalidManifest(f"{field} {problem}.", param=f"manifest.{field}")
