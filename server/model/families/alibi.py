"""ALiBi as tables of biases (Press et al. 2022, arXiv:2108.12409)."""

from __future__ import annotations

import torch

from server.model.attention_bias import AttentionBias


def relative_alibi(slopes: torch.Tensor, num_positions: int) -> AttentionBias:
    """The key at distance d gets `-slope * d`, for slopes `[num_heads]`.

    Models write `slope * position`, which differs by one number per row. Softmax does not see it.
    """
    distances = torch.arange(1 - num_positions, 1, device=slopes.device, dtype=torch.float32)
    return AttentionBias(slopes.float()[:, None] * distances, is_relative=True)
