"""Which layers keep their activations for the backward pass, and which compute them again (Chen et al. 2016)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from server.tuning.cost import Costs


class Recomputation:
    """The decoder layers of a twin: the first ones keep only their input, where a piece would exceed `max_piece_bytes`.

    Numbers are the same either way, so the bound may differ between a run and its resumption.
    """

    def __init__(self, twin: torch.nn.Module, max_piece_bytes: int, costs: Costs) -> None:
        self._max_piece_bytes = max_piece_bytes
        self._costs = costs
        self._layers = [module for module in twin.modules() if isinstance(module, GradientCheckpointingLayer)]
        self.num_recomputed = len(self._layers)
        for index, layer in enumerate(self._layers):
            layer.forward = partial(self._forward, index, layer.forward)

    def choose(self, num_positions: int, width: int) -> None:
        """Choose for the next forward pass over this many positions, in examples of at most `width` positions."""
        room = self._max_piece_bytes - self._costs.piece_bytes(num_positions, width)
        num_kept = max(0, room // self._costs.layer_bytes(num_positions, width))
        self.num_recomputed = max(0, len(self._layers) - num_kept)

    def _forward(self, index: int, forward: Any, *args: Any, **kwargs: Any) -> Any:
        if index >= self.num_recomputed:
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
