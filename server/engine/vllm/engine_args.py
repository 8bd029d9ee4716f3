"""The arguments of vLLM's engine: those of the operator, of the server's options, and those that answers rest on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.model.errors import EngineUnavailable
from softprompt_vllm.worker_calls import WORKER_EXTENSION

FIXED: Mapping[str, Any] = {
    "enable_prefix_caching": True,
    "enable_prompt_embeds": True,
    "disable_hybrid_kv_cache_manager": False,
    "skip_tokenizer_init": True,
    "trust_remote_code": False,
    "generation_config": "vllm",
    "logprobs_mode": "raw_logprobs",
    "enable_log_requests": False,
    "disable_log_stats": False,
    "worker_extension_cls": WORKER_EXTENSION,
    "scheduler_cls": "server.engine.vllm.core_scheduler.make_scheduler",
}
"""Arguments that the operator cannot give (`server.vllm_args`)."""


def check_names(given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise `EngineUnavailable` for an argument that this release of vLLM does not have."""
    if unknown := sorted(set(given) - known):
        raise EngineUnavailable(f"--vllm-args has {unknown[0]!r}, which is no argument of the installed vLLM")


def engine_args(own: Mapping[str, Any], transfer_config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of vLLM's `AsyncEngineArgs`. `own` are those that options set; None is vLLM's choice."""
    chosen = {name: value for name, value in own.items() if value is not None}
    return {**given, **FIXED, **chosen, "kv_transfer_config": dict(transfer_config)}
