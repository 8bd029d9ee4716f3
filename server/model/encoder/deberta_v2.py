"""DeBERTa-v2: attention scores with terms of content and relative position."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers.models.deberta_v2 import modeling_deberta_v2 as deberta

from server.model.encoder.attention import EncoderCall, attend
from server.model.encoder.length_tables import LengthTables
from server.model.errors import UnsupportedArchitecture


class DebertaV2Attention:
    """In place of `DisentangledSelfAttention.forward`. The module keeps its parameters and its place in the tree.

    `positions` are the buckets of relative positions `[num_rows, num_rows]`, which the layers share.
    """

    def __init__(self, module: Any, encoder: Any, positions: LengthTables | None) -> None:
        self._module = module
        self._encoder = encoder
        self._positions = positions
        self._projected: tuple[torch.Tensor | None, torch.Tensor | None] | None = None
        kinds = module.pos_att_type
        self._has_key_term, self._has_query_term = "c2p" in kinds, "p2c" in kinds
        self._scaling = (module.attention_head_size * (1 + self._has_key_term + self._has_query_term)) ** -0.5

    def __call__(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """`[1, num_rows, hidden_size]` to the same shape; attention weights are None."""
        module = self._module
        query, key, value = (
            self._heads(projection(hidden_states))
            for projection in (module.query_proj, module.key_proj, module.value_proj)
        )
        term = None if self._positions is None else self._term
        return attend(EncoderCall(query, key, value, self._scaling, term=term)).flatten(1)[None], None

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        """`[1, n, num_heads * head_dim]` to `[num_heads, n, head_dim]`."""
        return projected[0].view(projected.shape[1], self._module.num_attention_heads, -1).transpose(0, 1)

    def _term(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """The terms of content to position and position to content: see `EncoderCall.term`."""
        assert self._positions is not None
        span = self._module.pos_ebd_size
        distances = self._positions.of(query)
        term = query.new_zeros(*query.shape[:3], query.shape[2])
        position_keys, position_queries = self._position_projections()
        if position_keys is not None:
            scores = query @ (position_keys.transpose(-1, -2) * self._scaling)
            term += scores.gather(-1, _index(distances + span, span, scores))
        if position_queries is not None:
            scores = key @ (position_queries.transpose(-1, -2) * self._scaling)
            term += scores.gather(-1, _index(span - distances, span, scores)).transpose(-1, -2)
        return term

    def _position_projections(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Keys and queries of the relative positions `[num_heads, 2 * span, head_dim]`, computed once."""
        if self._projected is None:
            module = self._module
            embeddings = self._encoder.get_rel_embedding()[None, : 2 * module.pos_ebd_size]
            to_keys = module.key_proj if module.share_att_key else getattr(module, "pos_key_proj", None)
            to_queries = module.query_proj if module.share_att_key else getattr(module, "pos_query_proj", None)
            self._projected = (
                self._heads(to_keys(embeddings)) if self._has_key_term and to_keys is not None else None,
                self._heads(to_queries(embeddings)) if self._has_query_term and to_queries is not None else None,
            )
        return self._projected


def install(model: Any) -> None:
    """Replace the attention of every layer. Raises `UnsupportedArchitecture` for the sizes with a convolution."""
    encoder = model.encoder
    if encoder.conv is not None:
        raise UnsupportedArchitecture("its convolution (conv_kernel_size) would reach from one sequence into the next")
    positions = None
    if encoder.relative_attention:
        positions = LengthTables(partial(_buckets, encoder.position_buckets, encoder.max_relative_positions))
    for layer in encoder.layer:
        attention = layer.attention.self
        attention.forward = DebertaV2Attention(attention, encoder, positions)
    encoder.get_rel_pos = _nothing  # both would be as large as the square of the batch
    encoder.get_attention_mask = _nothing


def _buckets(num_buckets: int, max_distance: int, rows: torch.Tensor) -> torch.Tensor:
    buckets: torch.Tensor = deberta.build_relative_position(rows, rows, num_buckets, max_distance)[0]
    return buckets


def _index(buckets: torch.Tensor, span: int, scores: torch.Tensor) -> torch.Tensor:
    return buckets.clamp(0, 2 * span - 1).expand(*scores.shape[:2], -1, -1)


def _nothing(*_: Any, **__: Any) -> None:
    return None
