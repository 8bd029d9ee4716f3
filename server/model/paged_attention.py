"""Attention over the paged KV cache: each sequence of a flat batch sees its own blocks and nothing else."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from server.model.attention import AttentionCall
from server.model.flat_batch import FlatBatch
from server.model.kv_cache import KVCache


class PagedAttention:
    """The context of one step. Exact on every device: gathers blocks, then `scaled_dot_product_attention`.

    Masks depend on the window alone, so each is made once per step, for all layers with that window.
    """

    def __init__(self, kv_cache: KVCache, batch: FlatBatch) -> None:
        self._cache = kv_cache
        self._batch = batch
        self._decode_masks: dict[int | None, torch.Tensor] = {}
        self._prefill_masks: dict[tuple[int, int | None], torch.Tensor] = {}

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """Store the new keys and values, then attend; see `AttentionContext`.

        Rows beyond the batch (`cpu.packing.padded_rows`) are not stored, and their output is zero.
        """
        self._store(call)
        num_heads, num_rows, _ = call.query.shape
        is_padded = num_rows > len(self._batch.positions)
        if not (self._batch.prefills or is_padded):
            return self._decode(call)
        make = call.query.new_zeros if is_padded else call.query.new_empty
        output = make(num_rows, num_heads, call.value.shape[-1])
        if self._batch.decodes is not None:
            output[self._batch.decodes.rows] = self._decode(call)
        for index, span in enumerate(self._batch.prefills):
            output[span.first : span.last] = self._prefill(call, index)
        return output

    def _store(self, call: AttentionCall) -> None:
        num_tokens = len(self._batch.slots)
        key, value = (part.transpose(0, 1)[:num_tokens] for part in (call.key, call.value))
        self._cache.write(call.layer, self._batch.slots, key, value)

    def _decode(self, call: AttentionCall) -> torch.Tensor:
        """Attend from all decodes at once: `[num_sequences, num_heads, head_dim]`."""
        group = self._batch.decodes
        assert group is not None
        query = call.query[:, group.rows].transpose(0, 1).unsqueeze(2)  # [num_sequences, num_heads, 1, head_dim]
        key, value = self._cache.gather(call.layer, group.blocks)
        mask = self._decode_masks.get(call.sliding_window)
        if mask is None:
            slots = torch.arange(key.shape[2], device=key.device)
            mask = visible(group.positions[:, None], slots, call.sliding_window)[:, None, None]
            self._decode_masks[call.sliding_window] = mask
        bias = None if call.bias is None else call.bias.rows(group.positions[:, None], key.shape[2]).transpose(0, 1)
        return _attention(query, key, value, mask, call, bias).squeeze(2)

    def _prefill(self, call: AttentionCall, index: int) -> torch.Tensor:
        span = self._batch.prefills[index]
        query = call.query[None, :, span.first : span.last]
        key, value = self._cache.gather(call.layer, span.blocks[None])
        mask = self._prefill_masks.get((index, call.sliding_window))
        positions = torch.arange(span.start, span.start + span.last - span.first, device=key.device)
        if mask is None:
            mask = visible(positions[:, None], torch.arange(key.shape[2], device=key.device), call.sliding_window)
            self._prefill_masks[index, call.sliding_window] = mask = mask[None, None]
        bias = None if call.bias is None else call.bias.rows(positions, key.shape[2])[None]
        return _attention(query, key, value, mask, call, bias)[0].transpose(0, 1)


def visible(positions: torch.Tensor, slots: torch.Tensor, window: int | None) -> torch.Tensor:
    """Whether the query at `positions` `[..., 1]` sees slot `[num_slots]`."""
    visible = slots <= positions
    return visible if window is None else visible & (slots > positions - window)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    call: AttentionCall,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Grouped-query attention over `[batch, num_kv_heads, num_slots, head_dim]`.

    `query` and the answer are `[batch, num_heads, num_queries, head_dim]`. Query heads that share a KV head are folded
    into the query axis, so keys and values are never repeated.

    `mask` is `[batch or 1, 1, num_queries, num_slots]`, `bias` `[batch, num_heads, num_queries, num_slots]`.
    """
    batch, num_heads, num_queries, _ = query.shape
    num_kv_heads = key.shape[1]
    group = num_heads // num_kv_heads
    query = query.reshape(batch, num_kv_heads, group * num_queries, -1)
    if num_queries > 1 and group > 1:
        mask = mask.repeat(1, 1, group, 1)
    if bias is not None:
        bias = bias.reshape(batch, num_kv_heads, group * num_queries, -1)
    if call.softcap is None and call.sinks is None and bias is None:
        output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=call.scaling)
    else:
        output = explicit_attention(query, key, value, mask, call, bias)
    return output.reshape(batch, num_heads, num_queries, -1)


def explicit_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    call: AttentionCall,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same in plain matrix products, with score capping (Gemma 2), attention sinks (gpt-oss) and biases (ALiBi).

    `bias` is float32, of the scores' shape `[batch, num_kv_heads, num_rows, num_slots]`.
    """
    scores = (query @ key.transpose(2, 3)) * call.scaling
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    if bias is not None:
        scores = scores.float() + bias
    scores = scores.masked_fill(~mask, float("-inf")).float()
    if call.sinks is None:
        return scores.softmax(dim=-1).to(value.dtype) @ value
    num_kv_heads, rows = query.shape[1:3]
    per_head = call.sinks.reshape(num_kv_heads, -1)
    sinks = per_head.repeat_interleave(rows // per_head.shape[1], dim=1)[None, :, :, None].float()
    weights = torch.cat([scores, sinks.expand(scores.shape[0], -1, -1, -1)], dim=-1).softmax(dim=-1)
    return weights[..., :-1].to(value.dtype) @ value
