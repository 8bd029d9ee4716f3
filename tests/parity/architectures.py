"""Tiny seeded models of every architecture family that the README names, and of families with experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CodeGenConfig,
    Cohere2Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    Glm4MoeConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GPTNeoXJapaneseConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    MptConfig,
    NemotronConfig,
    Olmo2Config,
    OlmoeConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
    XGLMConfig,
)

from server.model.families.registry import stock_attention

VOCAB_SIZE = 61
MAX_CONTEXT = 96

_SPECIAL = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_CONTEXT,
    **_SPECIAL,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
# Wide enough that a CPU packs the linear layers and fuses the decoder layers.
_WIDE = {**_COMMON, "hidden_size": 512, "intermediate_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2}
_GPT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": MAX_CONTEXT,
    **_SPECIAL,
}
_FALCON = {name: value for name, value in _COMMON.items() if name != "intermediate_size"}
_MIXED_WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_GROUPED),
    "llama-dynamic-rope": lambda: LlamaConfig(
        **_GROUPED, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    ),
    "mistral": lambda: MistralConfig(**_GROUPED, sliding_window=8),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
    "qwen3": lambda: Qwen3Config(**_GROUPED, head_dim=16),
    "gemma": lambda: GemmaConfig(**_GROUPED, head_dim=16),
    "gemma2": lambda: Gemma2Config(**_GROUPED, head_dim=16, **_MIXED_WINDOWS),
    "gemma3": lambda: Gemma3TextConfig(**_GROUPED, head_dim=16, **_MIXED_WINDOWS),
    "phi": lambda: PhiConfig(**_GROUPED),
    "phi3": lambda: Phi3Config(**_GROUPED),
    "smollm3": lambda: SmolLM3Config(**_GROUPED),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=MAX_CONTEXT, **_SPECIAL
    ),
    "gpt-neox": lambda: GPTNeoXConfig(**_COMMON),
    "opt": lambda: OPTConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_CONTEXT,
        word_embed_proj_dim=32,
        **{**_SPECIAL, "pad_token_id": 1},
    ),
    "olmo2": lambda: Olmo2Config(**_GROUPED),
    "granite": lambda: GraniteConfig(**_GROUPED),
    "starcoder2": lambda: Starcoder2Config(**_GROUPED, sliding_window=8),
    "cohere2": lambda: Cohere2Config(**_GROUPED, head_dim=8, **_MIXED_WINDOWS),
    "glm4": lambda: Glm4Config(**_GROUPED, head_dim=8),
    # Three heads: slopes of ALiBi that are no powers of one number.
    "bloom": lambda: BloomConfig(
        vocab_size=VOCAB_SIZE, hidden_size=48, n_layer=2, n_head=3, seq_length=MAX_CONTEXT, **_SPECIAL
    ),
    "gptj": lambda: GPTJConfig(**_GPT, rotary_dim=4),
    "gptj-whole-head": lambda: GPTJConfig(**_GPT, rotary_dim=8),
    "codegen": lambda: CodeGenConfig(**_GPT, rotary_dim=4),
    "gpt-neo": lambda: GPTNeoConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        max_position_embeddings=MAX_CONTEXT,
        **_SPECIAL,
    ),
    "falcon": lambda: FalconConfig(**_FALCON, multi_query=True),
    "falcon-alibi": lambda: FalconConfig(**_FALCON, multi_query=False, alibi=True, parallel_attn=False, bias=True),
    "falcon-groups": lambda: FalconConfig(**_FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "mpt": lambda: MptConfig(
        vocab_size=VOCAB_SIZE, d_model=48, n_layers=2, n_heads=3, max_seq_len=MAX_CONTEXT, **_SPECIAL
    ),
    "xglm": lambda: XGLMConfig(
        vocab_size=VOCAB_SIZE,
        d_model=32,
        ffn_dim=48,
        num_layers=2,
        attention_heads=4,
        max_position_embeddings=MAX_CONTEXT,
        **{**_SPECIAL, "pad_token_id": 1},
    ),
    "gpt-neox-japanese": lambda: GPTNeoXJapaneseConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_multiple_size=2,
        max_position_embeddings=MAX_CONTEXT,
        **_SPECIAL,
    ),
    "stablelm": lambda: StableLmConfig(**_GROUPED),
    "nemotron": lambda: NemotronConfig(**_GROUPED),
    "llama-wide": lambda: LlamaConfig(**_WIDE),
    "mistral-wide": lambda: MistralConfig(**_WIDE, sliding_window=8),
    "qwen3-wide": lambda: Qwen3Config(**_WIDE, head_dim=64),
}

_EXPERTS = {**_GROUPED, "num_experts_per_tok": 2}
_NARROW_EXPERTS = {**_EXPERTS, "moe_intermediate_size": 24}

EXPERTS: dict[str, Callable[[], PreTrainedConfig]] = {
    "mixtral": lambda: MixtralConfig(**_EXPERTS, num_local_experts=4, sliding_window=8),
    "qwen2-moe": lambda: Qwen2MoeConfig(**_NARROW_EXPERTS, num_experts=4, shared_expert_intermediate_size=24),
    "qwen3-moe": lambda: Qwen3MoeConfig(**_NARROW_EXPERTS, num_experts=4, head_dim=16),
    "olmoe": lambda: OlmoeConfig(**_EXPERTS, num_experts=4),
    "glm4-moe": lambda: Glm4MoeConfig(**_NARROW_EXPERTS, n_routed_experts=4, head_dim=8),
    # with attention sinks
    "gpt-oss": lambda: GptOssConfig(**_EXPERTS, num_local_experts=4, head_dim=16, **_MIXED_WINDOWS),
}


REFUSED_BY_PEFT: dict[str, dict[str, str]] = {
    "falcon": dict.fromkeys(("prefix", "cartridge"), "Sizes of tensors must match"),
    "xglm": {"cpt": "Please specify `num_attention_heads`"},
    "mpt": {"cpt": "Please specify `num_attention_heads`"},
}
"""Types that PEFT itself cannot run on an architecture, with its error."""


def build(name: str) -> PreTrainedModel:
    """The model of `CONFIGS` or `EXPERTS` with this name; see `build_from`."""
    return build_from((CONFIGS | EXPERTS)[name]())


def build_from(config: PreTrainedConfig, auto: Any = AutoModelForCausalLM) -> PreTrainedModel:
    """A float32 model with weights wide enough that the best token is seldom a near tie."""
    torch.manual_seed(0)
    model: PreTrainedModel = auto.from_config(config, dtype=torch.float32, attn_implementation=stock_attention(config))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() > 1 or key.endswith(".sinks"):
                parameter.normal_(std=0.25 * (32 / config.hidden_size) ** 0.5)
    return model.eval()
