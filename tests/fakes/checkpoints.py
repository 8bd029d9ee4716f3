"""PEFT checkpoints small enough to make in a test."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from safetensors.numpy import save

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint_records import BaseModel, HeadShapes, ParsedCheckpoint, TaskType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES

BASE_NAME = "tiny/base-model"
BASE = BaseModel(
    fingerprint="f" * 64,
    names=(BASE_NAME, "tiny-base"),
    hidden_size=8,
    num_layers=2,
    num_kv_heads=2,
    head_dim=4,
    max_context=256,
    serving_dtype="float32",
)


def prompt_tuning_files(*, num_virtual_tokens: int = 4, seed: int = 0, **changes) -> dict[str, bytes]:
    """The two files of a PROMPT_TUNING checkpoint, by part name; `changes` are keys of its configuration."""
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": BASE_NAME,
        "num_virtual_tokens": num_virtual_tokens,
        "token_dim": BASE.hidden_size,
        "num_layers": BASE.num_layers,
        "num_attention_heads": BASE.num_kv_heads,
        "num_transformer_submodules": 1,
        "inference_mode": True,
    } | changes
    matrix = np.random.default_rng(seed).standard_normal((num_virtual_tokens, BASE.hidden_size), dtype=np.float32)
    return {"adapter_config": json.dumps(config).encode(), "adapter_model": save({"prompt_embeddings": matrix})}


def classifying_checkpoint(*, seed: int = 0) -> ParsedCheckpoint:
    """A checkpoint for SEQ_CLS on a base whose head needs no parameters, to be put into a store."""
    files = prompt_tuning_files(seed=seed, task_type="SEQ_CLS")
    return read_checkpoint(
        files["adapter_config"],
        files["adapter_model"],
        replace(BASE, heads={TaskType.SEQ_CLS: HeadShapes()}),
        task_index=None,
        allow_base_mismatch=False,
        max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
    )
