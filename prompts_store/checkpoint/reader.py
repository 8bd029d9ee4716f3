"""The two files of a PEFT prompt-learning checkpoint, read strictly: never PEFT's loader, never a pickle."""

from __future__ import annotations

import math

from prompts_store.checkpoint.config_reader import AdapterConfig, read_config
from prompts_store.checkpoint.prefix import check_finite, check_task_index, prefix_shape, resolve_prefix
from prompts_store.checkpoint.safetensors_format import read_tensors
from prompts_store.limits import MAX_TENSOR_BYTES
from prompts_store.records import BaseModel, Checkpoint


def read_checkpoint(
    config_bytes: bytes,
    tensors_bytes: bytes,
    base: BaseModel,
    *,
    task_index: int | None,
    allow_base_mismatch: bool,
    max_tensor_bytes: int = MAX_TENSOR_BYTES,
) -> Checkpoint:
    """Read `adapter_config.json` and `adapter_model.safetensors` of any of the six PeftTypes and check every number.

    `task_index` is the manifest's: needed by MULTITASK_PROMPT_TUNING, refused otherwise. `max_tensor_bytes` limits the
    tensors as float32. Raises only InvalidCheckpoint, in one of its kinds.
    """
    config = read_config(config_bytes, base, allow_base_mismatch=allow_base_mismatch)
    check_task_index(task_index, config.num_tasks)
    tensors = read_tensors(tensors_bytes, expected_shapes(config, base), max_tensor_bytes=max_tensor_bytes)
    check_finite((tensor.values for tensor in tensors), base.serving_dtype)
    checkpoint = Checkpoint(config.peft_type, config.num_virtual_tokens, config.raw, tensors)
    resolve_prefix(checkpoint, task_index, base)
    return checkpoint


def expected_shapes(config: AdapterConfig, base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that a checkpoint of this configuration has."""
    num_virtual_tokens, *rest = prefix_shape(config.peft_type, config.num_virtual_tokens, base)
    shapes: dict[str, tuple[int, ...]] = {"prompt_embeddings": (num_virtual_tokens, math.prod(rest))}
    if config.num_tasks:
        shapes["prefix_task_cols"] = (config.num_tasks, num_virtual_tokens, config.num_ranks)
        shapes["prefix_task_rows"] = (config.num_tasks, config.num_ranks, base.hidden_size)
    return shapes
