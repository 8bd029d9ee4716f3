"""MPT: one projection, clipped where the configuration says so; ALiBi with slopes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionMaskInterface, PreTrainedConfig
from transformers.models.mpt import modeling_mpt

from server.model.attention_bias import AttentionBias
from server.model.families.alibi import relative_alibi
from server.model.families.own_attention import OwnAttention

_NAME = "softprompt-mpt"
_alibi_of: Callable[..., torch.Tensor] = modeling_mpt.build_mpt_alibi_tensor


class MptAttention(OwnAttention):
    """In place of `modeling_mpt.MptAttention.forward`."""

    replaces = modeling_mpt.MptAttention
    implementation = _NAME

    @classmethod
    def make_bias(cls, config: PreTrainedConfig, num_positions: int, device: torch.device) -> AttentionBias:
        """Slopes as transformers computes them: what the key at distance one gets, negated."""
        nearest = _alibi_of(config.n_heads, 2, device=device)
        return relative_alibi(-nearest[:, 0, 0], num_positions)

    @classmethod
    def default_context(cls, config: PreTrainedConfig) -> int:
        """Its name for the longest context. transformers has no biases beyond it."""
        return int(config.max_seq_len)

    def __call__(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """See `OwnAttention`."""
        module = self.module
        mixed = module.Wqkv(hidden_states)
        if module.clip_qkv:
            mixed = mixed.clamp(min=-module.clip_qkv, max=module.clip_qkv)
        heads = mixed.view(-1, 3, module.n_heads, module.head_dim)
        attended = self.attend(*heads.unbind(1), scaling=module.softmax_scale)
        return module.out_proj(attended), None


def _any_mask(*, device: torch.device, **_: Any) -> torch.Tensor:
    """The model wants a mask, and this attention reads none."""
    return torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=device)


AttentionMaskInterface.register(_NAME, _any_mask)
