"""BLOOM: query, key and value of a head side by side in one projection; ALiBi."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.models.bloom import modeling_bloom

from server.model.attention_bias import AttentionBias
from server.model.families.alibi import relative_alibi
from server.model.families.own_attention import OwnAttention


class BloomAttention(OwnAttention):
    """In place of `modeling_bloom.BloomAttention.forward`, which also adds the residual."""

    replaces = modeling_bloom.BloomAttention

    @classmethod
    def make_bias(cls, config: PreTrainedConfig, num_positions: int, device: torch.device) -> AttentionBias:
        """Slopes as transformers computes them."""
        return relative_alibi(modeling_bloom._get_alibi_slopes(config.n_head, device), num_positions)

    @classmethod
    def default_context(cls, config: PreTrainedConfig) -> int:
        """BLOOM was trained on 2,048 positions; only some configurations say so, as `seq_length`."""
        return int(getattr(config, "seq_length", 2048))

    def __call__(self, hidden_states: torch.Tensor, residual: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`."""
        module = self.module
        heads = module.query_key_value(hidden_states).view(-1, module.num_heads, 3, module.head_dim)
        attended = self.attend(*heads.unbind(2), scaling=module.inv_norm_factor)
        return module.dense(attended) + residual, None
