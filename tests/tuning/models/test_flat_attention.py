"""Attention of a flat micro-batch against attention of each example alone."""

from __future__ import annotations

import pytest
import torch

from server.model.attention import AttentionCall
from server.tuning.models import flat_attention
from server.tuning.models.flat_attention import FlatAttention, LayerKeyValues

CPU = torch.device("cpu")
LENGTHS = (1, 3, 3, 4, 9, 10)
NUM_VIRTUAL, NUM_HEADS, NUM_KV_HEADS, HEAD_DIM = 5, 4, 2, 8


def parts(num_tokens: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Query, key and value of a flat row, with gradients."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(heads, num_tokens, HEAD_DIM, generator=generator).to(dtype).requires_grad_()
        for heads in (NUM_HEADS, NUM_KV_HEADS, NUM_KV_HEADS)
    ]


def alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, cap: float | None):
    """Causal attention of one example, in plain products: `[num_queries, num_heads, head_dim]`."""
    group = NUM_HEADS // NUM_KV_HEADS
    key, value = (part.repeat_interleave(group, dim=0).double() for part in (key, value))
    scores = query.double() @ key.transpose(1, 2) * 0.3
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    keys = torch.arange(key.shape[1])
    queries = keys[key.shape[1] - query.shape[1] :, None]
    hidden = (keys > queries) | (keys <= queries - (window or 1000))
    return (scores.masked_fill(hidden, float("-inf")).softmax(-1) @ value).transpose(0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("max_mask", [0, 1 << 20])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("is_key_values", [True, False])
def test_each_example_sees_the_virtual_tokens_and_itself(is_key_values, window, cap, max_mask, dtype, monkeypatch):
    """Output and gradients are those of each example alone, with windows, capped scores and groups of other sizes."""
    monkeypatch.setattr(flat_attention, "_MAX_MASK", max_mask)
    whole = parts(NUM_VIRTUAL + sum(LENGTHS), dtype)
    query, key, value = whole
    key_values = [LayerKeyValues(key[:, :NUM_VIRTUAL], value[:, :NUM_VIRTUAL])] if is_key_values else None
    attention = FlatAttention(LENGTHS, NUM_VIRTUAL, CPU, key_values)
    rows = slice(NUM_VIRTUAL if is_key_values else 0, None)
    call = AttentionCall(0, query[:, rows], key[:, rows], value[:, rows], 0.3, window, cap, None)
    found = attention.attend(call)
    expected = [] if is_key_values else [alone(*(part[:, :NUM_VIRTUAL] for part in whole), window, cap)]
    first = NUM_VIRTUAL
    for length in LENGTHS:
        own = slice(first, first + length)
        both = [torch.cat([part[:, :NUM_VIRTUAL], part[:, own]], dim=1) for part in (key, value)]
        expected.append(alone(query[:, own], *both, window, cap))
        first += length
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(found.double(), torch.cat(expected), **tolerance)
    weights = torch.linspace(-1, 1, found.numel()).reshape(found.shape)
    ours = torch.autograd.grad((found * weights).sum(), whole)
    theirs = torch.autograd.grad((torch.cat(expected) * weights).sum(), whole)
    for one, other in zip(ours, theirs, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(
            one.float(), other.float(), rtol=0, atol=scale * (1e-5 if dtype == torch.float32 else 0.05)
        )


def test_a_long_example_is_not_padded_to():
    """Short examples attend beside each other, and a much longer one by itself."""
    groups = FlatAttention((4, 5, 6, 400), NUM_VIRTUAL, CPU)._groups
    assert [(group.num_examples, group.width) for group in groups] == [(3, 6), (1, 400)]
