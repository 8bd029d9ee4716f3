"""The two files of a PEFT prompt-learning checkpoint, read strictly: never PEFT's loader, never a pickle."""

from __future__ import annotations

from dataclasses import replace

from prompts_store.checkpoint.config_reader import AdapterConfig, read_config
from prompts_store.checkpoint.embedding_check import BaseEmbeddings, check_left_out
from prompts_store.checkpoint.head import find_head
from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint.left_out import FileEntries, needed_tensors
from prompts_store.checkpoint.prefix import check_task_index, resolve_prefix
from prompts_store.checkpoint.safetensors_format import read_shapes, read_tensors
from prompts_store.checkpoint.safetensors_header import BytesSource
from prompts_store.checkpoint_records import BaseModel, Checkpoint, ParsedCheckpoint, StoredTensor
from prompts_store.limits import MAX_FRAME_BYTES


def read_checkpoint(
    config_bytes: bytes,
    tensors_bytes: bytes,
    base: BaseModel,
    *,
    task_index: int | None,
    allow_base_mismatch: bool,
    max_tensor_bytes: int,
    follow_links: bool = False,
    left_out: FileEntries | None = None,
    base_embeddings: BaseEmbeddings | None = None,
) -> ParsedCheckpoint:
    """Read `adapter_config.json` and `adapter_model.safetensors` of any of the six PeftTypes, check every number, and
    resolve the prefix.

    `task_index` is the manifest's: needed by MULTITASK_PROMPT_TUNING, refused otherwise. `max_tensor_bytes` limits the
    tensors as float32. `follow_links` is for files of this machine's own users: see `read_config`. `left_out` is what
    the bytes lack already of their file; what they still hold beside the soft prompt is left out here. An embedding
    layer among it is compared with `base_embeddings`. Raises only InvalidCheckpoint, in one of its kinds.
    """
    config = read_config(config_bytes, base, allow_base_mismatch=allow_base_mismatch, follow_links=follow_links)
    check_task_index(task_index, config.counts.num_tasks)
    needed = needed_tensors(BytesSource(tensors_bytes), max_bytes=MAX_FRAME_BYTES + max_tensor_bytes)
    tensors, num_labels = _read_tensors(config, needed.content, base, max_tensor_bytes)
    num_virtual_tokens = config.counts.num_virtual_tokens
    contents = Checkpoint(config.peft_type, num_virtual_tokens, config.raw, tensors)
    prefix = resolve_prefix(contents, task_index, base)
    checked = check_left_out(left_out or needed.left_out, base_embeddings)
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
        num_labels,
        checked,
    )


def _read_tensors(
    config: AdapterConfig, data: bytes, base: BaseModel, max_tensor_bytes: int
) -> tuple[tuple[StoredTensor, ...], int | None]:
    """Return the tensors under the names that they are stored by, and the number of labels of a head."""
    shapes = LAYOUTS[config.peft_type].shapes(config.counts, base)
    if config.task_type is None or not config.task_type.has_head:
        return read_tensors(data, shapes, max_tensor_bytes=max_tensor_bytes), None
    head = find_head(read_shapes(data), shapes, base.heads[config.task_type], config.task_type)
    tensors = read_tensors(data, {**shapes, **head.shapes}, max_tensor_bytes=max_tensor_bytes)
    renamed = (replace(tensor, name=head.names.get(tensor.name, tensor.name)) for tensor in tensors)
    return tuple(sorted(renamed, key=lambda tensor: tensor.name)), head.num_labels
