"""T5's feed-forward layer over packed weights.

transformers' own reads the weight of the output projection for its dtype, which would unpack it at each call.
"""

from __future__ import annotations

from typing import Any

import torch


class FeedForward:
    """In place of the forward pass of a feed-forward module without dropout whose output projection is packed."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`[..., hidden_size]` to the same shape."""
        module = self._module
        if hasattr(module, "wi"):
            inner = module.act(module.wi(hidden_states))
        else:
            inner = module.act(module.wi_0(hidden_states)) * module.wi_1(hidden_states)
        output: torch.Tensor = module.wo(inner)
        return output
