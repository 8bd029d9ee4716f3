"""The models and settings of vLLM that the connector refuses by name, before the engine starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softprompt_vllm.errors import Unsupported

_SPECS = frozenset({"FullAttentionSpec", "SlidingWindowSpec"})


def check_supported(vllm_config: Any, kv_cache_config: Any) -> None:
    """Raise Unsupported with every reason why soft prompts cannot be served with these configurations of vLLM."""
    reasons = [*_of_the_model(vllm_config.model_config, kv_cache_config), *_of_the_engine(vllm_config)]
    if reasons:
        raise Unsupported("soft prompts are not supported with " + "; ".join(reasons))


def _of_the_model(model: Any, kv_cache_config: Any) -> Iterator[str]:
    if model.is_encoder_decoder:
        yield "encoder-decoder models"
    if model.use_mla:
        yield "models with multi-head latent attention (MLA)"
    if model.is_hybrid or model.is_attention_free or model.has_inner_state:
        yield "models with a recurrent state (Mamba and hybrids)"
    specs = {type(group.kv_cache_spec).__name__ for group in kv_cache_config.kv_cache_groups}
    if others := sorted(specs - _SPECS):
        yield f"a KV cache of the kind {others[0]}"


def _of_the_engine(vllm_config: Any) -> Iterator[str]:
    transfer, parallel, cache = vllm_config.kv_transfer_config, vllm_config.parallel_config, vllm_config.cache_config
    if transfer.kv_role != "kv_both":
        yield 'a kv_role other than "kv_both"'
    if transfer.kv_load_failure_policy != "fail":
        yield 'a kv_load_failure_policy other than "fail": a soft prompt would be computed as text'
    for name in (
        "pipeline_parallel_size",
        "data_parallel_size",
        "decode_context_parallel_size",
        "prefill_context_parallel_size",
    ):
        if getattr(parallel, name, 1) > 1:
            yield f"{name} over 1"
    if vllm_config.speculative_config is not None:
        yield "speculative decoding"
    if cache.cache_dtype not in ("auto", str(vllm_config.model_config.dtype).removeprefix("torch.")):
        yield f"a KV cache of another dtype than the model ({cache.cache_dtype})"
    if getattr(cache, "kv_sharing_fast_prefill", False):
        yield "kv_sharing_fast_prefill"
