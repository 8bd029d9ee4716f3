"""T5's biases of attention scores as tables over distances (Raffel et al. 2019, arXiv:1910.10683, 2.1).

A bias depends on the bucket of the distance alone, and from `relative_attention_max_distance` on there is one bucket.
"""

from __future__ import annotations

from typing import Any

import torch

from server.model.attention_bias import AttentionBias


class TableBias:
    """In place of `compute_bias` of an attention module: its whole table, whatever the lengths of the batch."""

    def __init__(self, module: Any) -> None:
        self.bias = bias_table(module)

    def __call__(self, *_: Any, **__: Any) -> AttentionBias:
        """The table. The model hands it to its attention function, layer after layer."""
        return self.bias


def bias_table(module: Any) -> AttentionBias:
    """The table by the module's own `compute_bias`: distances before a query, and in an encoder those after it."""
    reach = int(module.relative_attention_max_distance)
    if module.is_decoder:
        rows = type(module).compute_bias(module, 1, reach + 1, past_seen_tokens=reach)
        return AttentionBias(_table(rows[0, :, 0]), is_relative=True)
    rows = type(module).compute_bias(module, reach + 1, 2 * reach + 1)
    return AttentionBias(_table(rows[0, :, reach]), is_relative=True, num_after=reach)


def _table(biases: torch.Tensor) -> torch.Tensor:
    return biases.detach().float().contiguous()
