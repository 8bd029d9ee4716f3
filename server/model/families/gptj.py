"""GPT-J: rotary positions in pairs, of a part of each head."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.gptj import modeling_gptj

from server.model.families.own_attention import OwnAttention
from server.model.families.rotary import rotate_pairs


class GPTJAttention(OwnAttention):
    """In place of `modeling_gptj.GPTJAttention.forward`."""

    replaces = modeling_gptj.GPTJAttention

    def __call__(self, hidden_states: torch.Tensor, position_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`; `position_ids` is `[1, num_tokens]`."""
        module = self.module
        shape = (-1, module.num_attention_heads, module.head_dim)
        query, key, value = (
            project(hidden_states).view(shape) for project in (module.q_proj, module.k_proj, module.v_proj)
        )
        angles = module.embed_positions[position_ids[0]]
        query, key = (rotate_pairs(heads, angles, module.rotary_dim) for heads in (query, key))
        attended = self.attend(query, key, value, scaling=1 / module.scale_attn)
        return module.out_proj(attended), None
