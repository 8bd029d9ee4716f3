"""CodeGen: GPT-J's attention with one projection, laid out for four devices as query, value, key of each."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.codegen import modeling_codegen

from server.model.families.own_attention import OwnAttention
from server.model.families.rotary import rotate_pairs

_NUM_PARTS = 4


class CodeGenAttention(OwnAttention):
    """In place of `modeling_codegen.CodeGenAttention.forward`."""

    replaces = modeling_codegen.CodeGenAttention

    def __call__(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`; `position_ids` is `[1, num_tokens]`."""
        module = self.module
        num_tokens = hidden_states.shape[1]
        parts = module.qkv_proj(hidden_states).view(num_tokens, _NUM_PARTS, 3, -1)
        query, value, key = (
            part.reshape(num_tokens, module.num_attention_heads, module.head_dim) for part in parts.unbind(2)
        )
        angles = module.embed_positions[position_ids[0]]
        query, key = (rotate_pairs(heads, angles, module.rotary_dim) for heads in (query, key))
        attended = self.attend(query, key, value, scaling=1 / module.scale_attn)
        return module.out_proj(attended), None
