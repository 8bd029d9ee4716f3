"""GPT-Neo: scores without a scale, and a window in every layer that is "local"."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.gpt_neo import modeling_gpt_neo

from server.model.families.own_attention import OwnAttention


class GPTNeoAttention(OwnAttention):
    """In place of `modeling_gpt_neo.GPTNeoSelfAttention.forward`."""

    replaces = modeling_gpt_neo.GPTNeoSelfAttention

    def __call__(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`."""
        module = self.module
        shape = (-1, module.num_heads, module.head_dim)
        query, key, value = (
            project(hidden_states).view(shape) for project in (module.q_proj, module.k_proj, module.v_proj)
        )
        window = module.config.window_size if module.attention_type == "local" else None
        attended = self.attend(query, key, value, scaling=1.0, sliding_window=window)
        return module.out_proj(attended), None
