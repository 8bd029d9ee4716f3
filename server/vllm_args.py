"""Arguments of vLLM's engine that the operator gives."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

_OPTIONS = {
    "model": "--base-model",
    "revision": "--revision",
    "dtype": "--dtype",
    "max_model_len": "--max-context",
    "max_num_seqs": "--max-num-seqs",
    "max_num_batched_tokens": "--max-batch-tokens",
    "block_size": "--block-size",
    "num_gpu_blocks_override": "--num-kv-blocks",
    "kv_cache_memory_bytes": "--kv-cache-gib",
    "max_logprobs": "--max-logprobs",
}
"""Arguments that options of the server set."""

_OURS = frozenset(
    {
        "enable_prefix_caching",
        "enable_prompt_embeds",
        "disable_hybrid_kv_cache_manager",
        "skip_tokenizer_init",
        "trust_remote_code",
        "generation_config",
        "logprobs_mode",
        "enable_log_requests",
        "disable_log_stats",
        "worker_extension_cls",
        "kv_transfer_config",
        "runner",
        "convert",
        "tokenizer",
        "tokenizer_mode",
        "override_generation_config",
        "scheduler_cls",
        "scheduling_policy",
        "structured_outputs_config",
        "reasoning_parser",
        "reasoning_parser_plugin",
        "logits_processors",
        "max_num_queued_reqs",
        "max_num_queued_tokens",
        "watermark_config",
    }
)
"""Arguments that soft prompts, or the exactness of answers, rest on."""


def parse_args(text: str) -> dict[str, Any]:
    """Read the operator's arguments: a JSON object, or `key=value` parted by spaces, with values as in JSON.

    Raises ValueError, with a message for the operator.
    """
    if text.lstrip().startswith("{"):
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ValueError(f"is no JSON object: {error}") from error
        return dict(given)
    pairs = [part.partition("=") for part in shlex.split(text)]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise ValueError(f"has {name!r}, which is not key=value; write a JSON object, or pairs parted by spaces")
    return {name: _value(value) for name, _, value in pairs}


def check_args(given: Mapping[str, Any]) -> None:
    """Raise ValueError for arguments that would contradict ours, by name."""
    for name in given:
        if name in _OPTIONS:
            raise ValueError(f"has {name!r}, which {_OPTIONS[name]} sets")
        if name in _OURS:
            raise ValueError(f"has {name!r}, which answers rest on; leave it out")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
