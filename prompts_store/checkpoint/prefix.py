"""From a checkpoint to what the model sees: one matrix of embeddings, or keys and values.

Layouts are PEFT's (`PeftModel.get_prompt`, `MultitaskPromptEmbedding.forward`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint.digests import prefix_digest
from prompts_store.errors import InvalidTaskIndex, NotFinite, ShapeMismatch
from prompts_store.records import BaseModel, Checkpoint, PeftType, ResolvedPrefix, StoredTensor, TensorKind

KEY_VALUE_TYPES = frozenset({PeftType.PREFIX_TUNING, PeftType.CARTRIDGE})
PARAM = "adapter_model"

# The least magnitude that rounds to infinity (IEEE 754 round to nearest, ties to even).
_OVERFLOW = {
    "float32": np.float32(np.inf),
    "float16": np.float32(65520.0),
    "bfloat16": np.uint32(0x7F7F8000).view(np.float32),
}


def resolve_prefix(checkpoint: Checkpoint, task_index: int | None, base: BaseModel) -> ResolvedPrefix:
    """Return what the base model sees of a checkpoint.

    `task_index` chooses among the tasks of MULTITASK_PROMPT_TUNING and is None for every other type.
    Raises ShapeMismatch, InvalidTaskIndex, and NotFinite where a value overflows in the serving dtype.
    """
    shape = prefix_shape(checkpoint.peft_type, checkpoint.num_virtual_tokens, base)
    prefix = restore_prefix(checkpoint, task_index, shape)
    check_finite([prefix.values], base.serving_dtype)
    return prefix


def restore_prefix(checkpoint: Checkpoint, task_index: int | None, shape: tuple[int, ...]) -> ResolvedPrefix:
    """Resolve a checkpoint whose prefix shape is known. Raises ShapeMismatch and InvalidTaskIndex."""
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    check_task_index(task_index, num_tasks(tensors.values()))
    values = tensors["prompt_embeddings"].values
    if task_index is not None:
        cols, rows = tensors["prefix_task_cols"].values, tensors["prefix_task_rows"].values
        values = _multitask(values, cols[task_index], rows[task_index])
    if values.size != math.prod(shape) or values.shape[0] != shape[0]:
        raise ShapeMismatch("The tensors do not fit the base model.", param=PARAM)
    values = np.ascontiguousarray(values).reshape(shape)
    kind = tensor_kind(checkpoint.peft_type)
    return ResolvedPrefix(kind, prefix_digest(kind, values), values)


def tensor_kind(peft_type: PeftType) -> TensorKind:
    """Return what a resolved prefix of this type holds."""
    return TensorKind.KEY_VALUES if peft_type in KEY_VALUE_TYPES else TensorKind.EMBEDDINGS


def prefix_shape(peft_type: PeftType, num_virtual_tokens: int, base: BaseModel) -> tuple[int, ...]:
    """Return the shape of ResolvedPrefix.values. Raises ShapeMismatch where the base model takes no keys and values."""
    if peft_type in KEY_VALUE_TYPES:
        return (num_virtual_tokens, 2 * base.num_layers, *key_value_heads(base))
    return (num_virtual_tokens, base.hidden_size)


def key_value_heads(base: BaseModel) -> tuple[int, int]:
    """Return `(num_kv_heads, head_dim)`. Raises ShapeMismatch where the layers differ."""
    if base.num_kv_heads is None or base.head_dim is None:
        raise ShapeMismatch(
            "The base model's layers differ in their keys and values, so it takes no PREFIX_TUNING or CARTRIDGE.",
            param="adapter_config",
        )
    return base.num_kv_heads, base.head_dim


def num_tasks(tensors: Iterable[StoredTensor]) -> int:
    """Return how many tasks the tensors hold: 0 unless they are of MULTITASK_PROMPT_TUNING."""
    return next((tensor.values.shape[0] for tensor in tensors if tensor.name == "prefix_task_cols"), 0)


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


def _multitask(
    shared: NDArray[np.float32], cols: NDArray[np.float32], rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return `shared * (cols @ rows)`, `[num_virtual_tokens, hidden_size]`.

    `cols` is `[num_virtual_tokens, num_ranks]`, `rows` is `[num_ranks, hidden_size]`. Summed in float64 and in the
    order of the ranks: the prefix digest must not depend on a machine's BLAS.
    """
    product = np.zeros(shared.shape, np.float64)
    for col, row in zip(cols.T, rows, strict=True):
        product += np.multiply.outer(col.astype(np.float64), row.astype(np.float64))
    with np.errstate(over="ignore"):
        return (product * shared).astype(np.float32)
