"""The two files of a PEFT prompt-learning checkpoint, read strictly: never PEFT's loader, never a pickle."""

from __future__ import annotations

from prompts_store.checkpoint.config_reader import read_config
from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint.prefix import check_task_index, resolve_prefix
from prompts_store.checkpoint.safetensors_format import read_tensors
from prompts_store.records import BaseModel, Checkpoint, ParsedCheckpoint


def read_checkpoint(
    config_bytes: bytes,
    tensors_bytes: bytes,
    base: BaseModel,
    *,
    task_index: int | None,
    allow_base_mismatch: bool,
    max_tensor_bytes: int,
    follow_links: bool = False,
) -> ParsedCheckpoint:
    """Read `adapter_config.json` and `adapter_model.safetensors` of any of the six PeftTypes, check every number, and
    resolve the prefix.

    `task_index` is the manifest's: needed by MULTITASK_PROMPT_TUNING, refused otherwise. `max_tensor_bytes` limits the
    tensors as float32. `follow_links` is for files of this machine's own users: see `read_config`. Raises only
    InvalidCheckpoint, in one of its kinds.
    """
    config = read_config(config_bytes, base, allow_base_mismatch=allow_base_mismatch, follow_links=follow_links)
    check_task_index(task_index, config.counts.num_tasks)
    shapes = LAYOUTS[config.peft_type].shapes(config.counts, base)
    tensors = read_tensors(tensors_bytes, shapes, max_tensor_bytes=max_tensor_bytes)
    num_virtual_tokens = config.counts.num_virtual_tokens
    contents = Checkpoint(config.peft_type, num_virtual_tokens, config.raw, tensors)
    prefix = resolve_prefix(contents, task_index, base)
    for values in (*(tensor.values for tensor in tensors), prefix.values):
        values.flags.writeable = False  # what was checked and digested stays so
    return ParsedCheckpoint(
        config.peft_type,
        num_virtual_tokens,
        config.raw,
        tensors,
        base,
        task_index,
        config.base_name,
        config.base_mismatch,
        prefix,
    )
