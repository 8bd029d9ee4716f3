"""A tiny configuration of any model type of transformers, by the names that configurations share."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from tests.parity.architectures import CONFIGS, MAX_CONTEXT, VOCAB_SIZE
from tests.parity.tiny_particular import LEFT_OUT, PARTICULAR

_WIDTH = ("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
_OTHER_HEADS = ("encoder_attention_heads", "decoder_attention_heads")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "dff", "encoder_ffn_dim", "decoder_ffn_dim")
_LENGTH = ("max_position_embeddings", "n_positions", "max_seq_len")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_NO_TOKEN = ("bos_token_id", "eos_token_id", "pad_token_id")
_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    **dict.fromkeys(_WIDTH, 32),
    **dict.fromkeys(_LAYERS, 2),
    **dict.fromkeys((*_HEADS, *_OTHER_HEADS), 4),
    **dict.fromkeys(_INNER, 48),
    **dict.fromkeys(_LENGTH, MAX_CONTEXT),
    **dict.fromkeys(_EXPERTS, 4),
    **dict.fromkeys(_NO_TOKEN),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "num_shared_experts", "n_shared_experts"), 2),
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "sliding_window": 8,
}
# Models of text whose configurations have parts all the same.
_IN_PARTS = frozenset({"blt", "dbrx"})
# What some configurations refuse, left out in turn.
_ATTEMPTS = ((), ("head_dim",), ("num_key_value_heads", "head_dim"), ("sliding_window",), _NO_TOKEN)


def other_types() -> list[str]:
    """Causal model types without a configuration in `CONFIGS`, of text alone."""
    own = {config().model_type for config in CONFIGS.values()}
    types = dict.fromkeys(config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING)
    return [kind for kind in types if kind not in own and (kind in _IN_PARTS or not CONFIG_MAPPING[kind].sub_configs)]


def tiny_config(model_type: str, **given: Any) -> PreTrainedConfig:
    """Two layers of 32 numbers, with `given` values. Raises `ValueError` where no attempt is valid."""
    known = CONFIG_MAPPING[model_type]
    names = set(dir(known)) | set(known().to_dict())
    sizes = {name: size for name, size in _SIZES.items() if name in names - LEFT_OUT.get(model_type, frozenset())}
    if "qk_rope_head_dim" in names:  # latent attention: a key per head, and `head_dim` is that of the rotated part
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
        sizes.pop("head_dim", None)
    particular = {name: value for name, value in given.items() if name in names} | PARTICULAR.get(model_type, {})
    for left_out in _ATTEMPTS:
        try:
            return known(**{name: size for name, size in sizes.items() if name not in left_out} | particular)
        except Exception as error:  # a configuration may raise anything
            problem = error
    raise ValueError(f"no tiny configuration of {model_type} is valid: {problem}")
