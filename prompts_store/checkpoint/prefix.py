"""Conversion of a checkpoint into the prefix that the model sees: a matrix of embeddings, or keys and values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint.digests import prefix_digest
from prompts_store.checkpoint.layouts import LAYOUTS, Counts
from prompts_store.checkpoint_records import BaseModel, Checkpoint, ResolvedPrefix
from prompts_store.errors import InvalidTaskIndex, NotFinite, ShapeMismatch

PARAM = "adapter_model"

# The least magnitude that rounds to infinity (IEEE 754 round to nearest, ties to even).
_OVERFLOW = {
    "float32": np.float32(np.inf),
    "float16": np.float32(65520.0),
    "bfloat16": np.uint32(0x7F7F8000).view(np.float32),
}


def resolve_prefix(checkpoint: Checkpoint, task_index: int | None, base: BaseModel) -> ResolvedPrefix:
    """Return the prefix that the base model sees. Every value is finite in the serving dtype.

    `task_index` chooses among the tasks of MULTITASK_PROMPT_TUNING and is None for every other type.
    Raises ShapeMismatch, InvalidTaskIndex, and NotFinite where a value overflows in the serving dtype.
    """
    shape = LAYOUTS[checkpoint.peft_type].prefix_shape(checkpoint.num_virtual_tokens, base)
    check_finite((tensor.values for tensor in checkpoint.tensors), base.serving_dtype)
    prefix = restore_prefix(checkpoint, task_index, shape)
    if task_index is not None:  # a product may overflow where its factors do not
        check_finite([prefix.values], base.serving_dtype)
    return prefix


def restore_prefix(checkpoint: Checkpoint, task_index: int | None, shape: tuple[int, ...]) -> ResolvedPrefix:
    """Resolve a checkpoint whose prefix shape is known. Raises ShapeMismatch and InvalidTaskIndex."""
    layout = LAYOUTS[checkpoint.peft_type]
    tensors = {tensor.name: tensor.values for tensor in checkpoint.tensors}
    check_task_index(task_index, layout.num_tasks(tensors))
    values = layout.values(tensors, task_index)
    counts = Counts(shape[0], num_submodules=checkpoint.num_submodules)
    if not layout.fits(values, counts, shape):
        raise ShapeMismatch("The tensors do not fit the base model.", param=PARAM)
    values = np.ascontiguousarray(layout.serve(values, shape, counts.num_submodules))
    return ResolvedPrefix(layout.kind, prefix_digest(layout.kind, values), values)


def check_task_index(task_index: int | None, num_tasks: int) -> None:
    """Raise InvalidTaskIndex unless the index chooses one of the tasks, or both are absent (`num_tasks` 0)."""
    if num_tasks == 0 and task_index is not None:
        message = "task_index is only for MULTITASK_PROMPT_TUNING."
    elif num_tasks and task_index is None:
        message = f"MULTITASK_PROMPT_TUNING needs a task_index from 0 to {num_tasks - 1}."
    elif task_index is not None and not 0 <= task_index < num_tasks:
        message = f"task_index is not from 0 to {num_tasks - 1}."
    else:
        return
    raise InvalidTaskIndex(message, param="manifest.task_index")


def check_finite(arrays: Iterable[NDArray[np.float32]], serving_dtype: str) -> None:
    """Raise NotFinite if a value is NaN or infinite, or becomes infinite in `serving_dtype`."""
    limit = _OVERFLOW[serving_dtype]
    for values in arrays:
        if not np.all(np.abs(values) < limit):
            raise NotFinite(f"A value is NaN, infinite, or too large for {serving_dtype}.", param=PARAM)
