"""GPT-NeoX-Japanese: rotary positions of a part of each head; the last layer's bias goes back to the model."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.gpt_neox_japanese import modeling_gpt_neox_japanese

from server.model.families.own_attention import OwnAttention
from server.model.families.rotary import rotate_halves


class GPTNeoXJapaneseAttention(OwnAttention):
    """In place of `modeling_gpt_neox_japanese.GPTNeoXJapaneseAttention.forward`."""

    replaces = modeling_gpt_neox_japanese.GPTNeoXJapaneseAttention

    def __call__(
        self, hidden_states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor], **_: Any
    ) -> tuple[torch.Tensor, None, torch.Tensor | None]:
        """See `OwnAttention`; the two of `position_embeddings` are `[1, num_tokens, rotary_dim]`."""
        module = self.module
        heads = module.query_key_value(hidden_states).view(-1, module.num_attention_heads, 3, module.head_size)
        query, key, value = heads.unbind(2)
        query, key = (rotate_halves(rows, position_embeddings) for rows in (query, key))
        attended = self.attend(query, key, value, scaling=1 / module.norm_factor)
        return module.dense(attended), None, module.dense_bias
