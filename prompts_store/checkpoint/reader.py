"""The two files of a PEFT prompt-learning checkpoint, read strictly: never PEFT's loader, never a pickle."""

from __future__ import annotations

from prompts_store.checkpoint.config_reader import read_config
from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint.prefix import check_finite, check_task_index, resolve_prefix
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
    check_task_index(task_index, config.counts.num_tasks)
    shapes = LAYOUTS[config.peft_type].shapes(config.counts, base)
    tensors = read_tensors(tensors_bytes, shapes, max_tensor_bytes=max_tensor_bytes)
    check_finite((tensor.values for tensor in tensors), base.serving_dtype)
    checkpoint = Checkpoint(config.peft_type, config.counts.num_virtual_tokens, config.raw, tensors)
    resolve_prefix(checkpoint, task_index, base)
    return checkpoint
