"""Which layers keep their activations for the backward pass, and which compute them again (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from server.model.attention import AttentionContext, attending, current_context
from server.tuning.cost import Costs


class Recomputation:
    """The layers of a twin: the first ones keep only their input, where a piece would exceed the memory.

    `room` measures the bytes that a piece may take now. Numbers are the same either way, bit for bit, so the room may
    differ between pieces, and between a run and its resumption. `has_context` says whether attention is over a context
    that is bound around the forward call; transformers' own is not.
    """

    def __init__(
        self, twin: torch.nn.Module, costs: Costs, room: Callable[[], int], *, has_context: bool = True
    ) -> None:
        self._room = room
        self._has_context = has_context
        self._costs = costs
        self._layers = [module for module in twin.modules() if isinstance(module, GradientCheckpointingLayer)]
        self.num_recomputed = len(self._layers)
        for index, layer in enumerate(self._layers):
            layer.forward = partial(self._forward, index, layer.forward)

    def choose(self, num_positions: int, width: int) -> None:
        """Choose for the next forward pass over this many positions, in examples of at most `width` positions."""
        left = self._room() - self._costs.piece_bytes(num_positions, width)
        num_kept = max(0, left // self._costs.layer_bytes(num_positions, width))
        self.num_recomputed = max(0, len(self._layers) - num_kept)

    def _forward(self, index: int, forward: Any, *args: Any, **kwargs: Any) -> Any:
        if index >= self.num_recomputed:
            return forward(*args, **kwargs)
        # The backward pass computes it again outside of `attending`, on a GPU in a thread of its own.
        bound = partial(_attend_and_call, current_context(), forward) if self._has_context else forward
        return checkpoint(bound, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _attend_and_call(context: AttentionContext, forward: Any, *args: Any, **kwargs: Any) -> Any:
    with attending(context):
        return forward(*args, **kwargs)
