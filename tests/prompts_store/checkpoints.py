"""Checkpoints for tests: valid files of every prompt type for one tiny base model, and the means to spoil them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseModel, ParsedCheckpoint, PeftType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES

BASE = BaseModel(
    fingerprint="f" * 64,
    names=("tiny/base", "tiny"),
    hidden_size=8,
    num_layers=2,
    num_kv_heads=2,
    head_dim=3,
    max_context=64,
    serving_dtype="float32",
    num_attention_heads=4,
)
NUM_VIRTUAL_TOKENS = 3
NUM_TASKS = 4
NUM_RANKS = 2

_KEY_VALUE_WIDTH = 2 * 2 * 2 * 3


def config(peft_type: PeftType = PeftType.PROMPT_TUNING, /, **changes: Any) -> dict[str, Any]:
    """Return a configuration as PEFT writes it, with some keys changed."""
    fields: dict[str, Any] = {
        "auto_mapping": None,
        "base_model_name_or_path": "tiny/base",
        "inference_mode": True,
        "modules_to_save": None,
        "num_attention_heads": 4,
        "num_layers": BASE.num_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": NUM_VIRTUAL_TOKENS,
        "peft_type": str(peft_type),
        "task_type": "CAUSAL_LM",
        "token_dim": BASE.hidden_size,
    }
    if peft_type in (PeftType.PREFIX_TUNING, PeftType.CARTRIDGE):
        fields |= {"num_attention_heads": 2, "token_dim": 6}
    if peft_type is PeftType.MULTITASK_PROMPT_TUNING:
        fields |= {"num_tasks": NUM_TASKS, "num_ranks": NUM_RANKS}
    if peft_type is PeftType.CPT:
        fields |= {"cpt_token_ids": [1, 2, 3]}
    return fields | changes


def config_bytes(peft_type: PeftType = PeftType.PROMPT_TUNING, /, **changes: Any) -> bytes:
    """Return config() as a file."""
    return json.dumps(config(peft_type, **changes)).encode()


def arrays(peft_type: PeftType = PeftType.PROMPT_TUNING, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return tensors of the right names and shapes."""
    random = np.random.default_rng(seed)
    width = _KEY_VALUE_WIDTH if peft_type in (PeftType.PREFIX_TUNING, PeftType.CARTRIDGE) else BASE.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"prompt_embeddings": (NUM_VIRTUAL_TOKENS, width)}
    if peft_type is PeftType.MULTITASK_PROMPT_TUNING:
        shapes["prefix_task_cols"] = (NUM_TASKS, NUM_VIRTUAL_TOKENS, NUM_RANKS)
        shapes["prefix_task_rows"] = (NUM_TASKS, NUM_RANKS, BASE.hidden_size)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def header(tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Return the safetensors header of float32 tensors."""
    entries: dict[str, Any] = {}
    begin = 0
    for name, values in sorted(tensors.items()):
        end = begin + values.nbytes
        entries[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [begin, end]}
        begin = end
    return entries


def container(head: bytes | Mapping[str, Any], body: bytes) -> bytes:
    """Join a header and the tensors' bytes."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor_bytes(peft_type: PeftType = PeftType.PROMPT_TUNING, seed: int = 0) -> bytes:
    """Return arrays() as a file."""
    tensors = arrays(peft_type, seed)
    return container(header(tensors), b"".join(values.tobytes() for _, values in sorted(tensors.items())))


def task_index(peft_type: PeftType) -> int | None:
    """Return a task index where the type needs one."""
    return 1 if peft_type is PeftType.MULTITASK_PROMPT_TUNING else None


def checkpoint(
    peft_type: PeftType = PeftType.PROMPT_TUNING, seed: int = 0, base: BaseModel = BASE, **changes: Any
) -> ParsedCheckpoint:
    """Return a checkpoint that has been read, with some keys of its configuration changed."""
    return read_checkpoint(
        config_bytes(peft_type, **changes),
        tensor_bytes(peft_type, seed),
        base,
        task_index=task_index(peft_type),
        allow_base_mismatch=True,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
