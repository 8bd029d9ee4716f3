"""Rotary positions (Su et al. 2021, arXiv:2104.09864): pairs are neighbours (GPT-J), or lie half a head apart."""

from __future__ import annotations

import torch


def rotate_pairs(heads: torch.Tensor, angles: torch.Tensor, num_rotated: int | None) -> torch.Tensor:
    """Rotate the first `num_rotated` numbers of each head (None: all) of `[num_tokens, num_heads, head_dim]`.

    `angles` `[num_tokens, num_rotated]` are the sines of all pairs, then their cosines.
    """
    rotated, rest = (heads, None) if num_rotated is None else (heads[..., :num_rotated], heads[..., num_rotated:])
    sine, cosine = angles.to(heads.dtype)[:, None].chunk(2, dim=-1)
    even, odd = rotated[..., ::2], rotated[..., 1::2]
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
    return turned if rest is None else torch.cat([turned, rest], dim=-1)


def rotate_halves(heads: torch.Tensor, embeddings: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate the first numbers of each head of `[num_tokens, num_heads, head_dim]`.

    A pair lies half of these numbers apart. `embeddings` are cosines and sines, each `[1, num_tokens, num_rotated]`.
    """
    cosine, sine = (rows[0][:, None] for rows in embeddings)
    rotated, rest = heads[..., : cosine.shape[-1]], heads[..., cosine.shape[-1] :]
    first, second = rotated.chunk(2, dim=-1)
    return torch.cat([rotated * cosine + torch.cat([-second, first], dim=-1) * sine, rest], dim=-1)
