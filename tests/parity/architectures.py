"""Tiny seeded models of every architecture family that the README names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
    Starcoder2Config,
)

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
    "llama-wide": lambda: LlamaConfig(**_WIDE),
    "mistral-wide": lambda: MistralConfig(**_WIDE, sliding_window=8),
    "qwen3-wide": lambda: Qwen3Config(**_WIDE, head_dim=64),
}


def build(name: str) -> PreTrainedModel:
    """A float32 model with weights wide enough that the best token is seldom a near tie."""
    config = CONFIGS[name]()
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25 * (32 / config.hidden_size) ** 0.5)
    return model.eval()
