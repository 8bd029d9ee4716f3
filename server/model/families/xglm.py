"""XGLM: plain attention; positions are added to embeddings by the model."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.xglm import modeling_xglm

from server.model.families.own_attention import OwnAttention


class XGLMAttention(OwnAttention):
    """In place of `modeling_xglm.XGLMAttention.forward`."""

    replaces = modeling_xglm.XGLMAttention

    def __call__(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`."""
        module = self.module
        shape = (-1, module.num_heads, module.head_dim)
        query, key, value = (
            project(hidden_states).view(shape) for project in (module.q_proj, module.k_proj, module.v_proj)
        )
        return module.out_proj(self.attend(query, key, value, scaling=module.scaling)), None
