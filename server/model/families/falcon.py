"""Falcon: rotary positions or ALiBi; a key per head, one for all heads (multi-query), or one per group.

Groups get a key per head in the cache, as transformers keeps them: prefix tuning trains one for each head.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.models.falcon import modeling_falcon

from server.model.attention_bias import AttentionBias
from server.model.families.own_attention import OwnAttention
from server.model.families.rotary import rotate_halves


class FalconAttention(OwnAttention):
    """In place of `modeling_falcon.FalconAttention.forward`."""

    replaces = modeling_falcon.FalconAttention
    stock = "sdpa"  # "eager" adds ALiBi twice: to the scores, and with the mask

    @classmethod
    def make_bias(cls, config: PreTrainedConfig, num_positions: int, device: torch.device) -> AttentionBias | None:
        """ALiBi as transformers computes it: rounded to bfloat16, so it depends on the position, not on the distance.

        The bias is scaled like the scores.
        """
        if not config.alibi:
            return None
        whole = torch.ones(1, num_positions, dtype=torch.long, device=device)
        rounded = modeling_falcon.build_alibi_tensor(whole, config.num_attention_heads, torch.float32)[:, 0]
        head_dim = config.hidden_size // config.num_attention_heads
        return AttentionBias(rounded * head_dim**-0.5, is_relative=False)

    def __call__(
        self, hidden_states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor], **_: Any
    ) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`; the two of `position_embeddings` are `[1, num_tokens, head_dim]`."""
        module = self.module
        query, key, value = (heads[0] for heads in module._split_heads(module.query_key_value(hidden_states)))
        if self.bias is None:
            query, key = (rotate_halves(heads, position_embeddings) for heads in (query, key))
        attended = self.attend(query, key, value, scaling=module.inv_norm_factor)
        return module.dense(attended), None
