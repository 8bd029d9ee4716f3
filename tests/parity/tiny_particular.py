"""What a tiny configuration of a model type needs beyond the sizes that configurations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.dbrx.configuration_dbrx import DbrxAttentionConfig, DbrxFFNConfig

from tests.parity.architectures import MAX_CONTEXT

_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8}
_FULL = {"layer_types": ["full_attention", "full_attention"]}
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_BLT_PART = {
    "hidden_size": 32,
    "hidden_size_global": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}
_ONE_EXPERT = {"num_experts_per_tok": 1, "head_dim": 8}

PARTICULAR: Mapping[str, Mapping[str, Any]] = {
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "blt": {
        "hidden_size": 32,
        "vocab_size": 260,  # bytes, and four of its own
        "encoder_hash_byte_group_vocab": 64,
        "encoder_hash_byte_group_size": [3],
        **dict.fromkeys(("patcher_config", "encoder_config", "decoder_config", "global_config"), _BLT_PART),
    },
    "cohere_compass_text": {
        **_FULL,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
    },
    "dbrx": {
        "attn_config": DbrxAttentionConfig(kv_n_heads=2, clip_qkv=8.0, rope_theta=10000.0),
        "ffn_config": DbrxFFNConfig(hidden_size=32, ffn_hidden_size=48, moe_num_experts=4, moe_top_k=2),
        "max_seq_len": MAX_CONTEXT,
    },
    "dots3_note_text": {"num_key_value_heads": 4, "head_dim": 8, "index_topk": 8, "index_head_dim": 8},
    "funnel": {
        "block_sizes": [1, 1],
        "block_repeats": [1, 1],
        "architectures": ["FunnelModel"],
        "d_head": 8,
        "d_inner": 48,
    },
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 61,
        "laurel_rank": 8,
    },
    "gemma4_unified_text": {"layer_types": ["sliding_attention", "full_attention"], "global_head_dim": 8},
    "granitemoehybrid": {**_MAMBA, **_FULL, "shared_intermediate_size": 48},
    "lfm2_moe": {**_FULL, "num_dense_layers": 1},
    "mamba2": {"head_dim": 16, "n_groups": 1, "state_size": 8, "chunk_size": 8},
    "modernbert-decoder": {
        "pad_token_id": 0,
        "bos_token_id": 1,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 16,
    },
    "phimoe": {"sliding_window": MAX_CONTEXT},
    "prophetnet": {
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
        "pad_token_id": 0,
    },
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "local"],
        "attention_head_size": 8,
        "axial_pos_shape": [8, 12],
        "axial_pos_embds_dim": [8, 24],
        "local_attn_chunk_length": 8,
        "feed_forward_size": 48,
        "pad_token_id": 0,
    },
    "xlnet": {"d_inner": 48},
    "xlstm": {"embedding_dim": 32, "num_blocks": 2},
    "zamba": {"layers_block_type": ["hybrid", "hybrid"]},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"], "mamba_d_state": 8, "chunk_size": 8},
    "zaya": {**_ONE_EXPERT, "router_hidden_size": 16},
}
"""Values by name, in place of the shared ones."""

LEFT_OUT: Mapping[str, frozenset[str]] = {
    "funnel": frozenset({"num_hidden_layers"}),
    "prophetnet": frozenset({"num_hidden_layers", "num_attention_heads"}),
    "reformer": frozenset({"num_hidden_layers"}),
    "xlnet": frozenset({"max_position_embeddings"}),
    "xlstm": frozenset({"v_head_dim", "head_dim", "num_attention_heads"}),
    "zamba": frozenset({"head_dim", "attention_head_dim"}),
    "zamba2": frozenset({"head_dim", "attention_head_dim"}),
}
"""Shared names that a type has and that it must not be given."""
