"""The parts of an encoder layer around a packed linear layer, each in one kernel with what follows it.

Encoders of many families share two of BERT's parts: the first linear layer of the feed-forward network with its
activation, and a linear layer whose output is added to its layer's input. A part is fused only if it is built alike and
gives the original's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.activations import GELUActivation

from server.model.cpu.packing import PackedLinear

_ACTIVATED = frozenset({"dense", "intermediate_act_fn"})
_ADDED = frozenset({"dense", "LayerNorm", "dropout"})
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the largest number
_NUM_PROBED = 5


def fuse_parts(model: torch.nn.Module) -> int:
    """Fuse every part that can be, in place; returns how many. Linear layers must have been packed."""
    fused = [(part, form) for part in model.modules() if (form := _fuse(part)) is not None]
    for part, form in fused:
        part.forward = form
    return len(fused)


class Activated:
    """The forward pass of a linear layer with GELU."""

    def __init__(self, part: Any) -> None:
        self._linear: PackedLinear = part.dense

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        return self._linear.gelu(hidden_states)


class Added:
    """The forward pass of a linear layer, plus the layer's input, normalised."""

    def __init__(self, part: Any) -> None:
        self._linear: PackedLinear = part.dense
        self._norm: Callable[[torch.Tensor], torch.Tensor] = part.LayerNorm

    def __call__(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` and `[..., out_features]` to the latter."""
        return self._norm(self._linear.plus(hidden_states, input_tensor))


def _fuse(part: torch.nn.Module) -> Activated | Added | None:
    """The fused form, or None where the part is built in another way or computes something else."""
    names = frozenset(name for name, _ in part.named_children())
    linear = getattr(part, "dense", None)
    if names not in (_ACTIVATED, _ADDED) or not isinstance(linear, PackedLinear):
        return None
    if names == _ACTIVATED and not isinstance(part.intermediate_act_fn, GELUActivation):
        return None
    form = Activated(part) if names == _ACTIVATED else Added(part)
    generator = torch.Generator().manual_seed(0)
    dtype = linear.packed.dtype
    inputs = [torch.randn(1, _NUM_PROBED, linear.in_features, generator=generator).to(dtype)]
    if names == _ADDED:
        inputs.append(torch.randn(1, _NUM_PROBED, linear.out_features, generator=generator).to(dtype))
    try:
        with torch.inference_mode():
            expected, actual = part(*inputs), form(*inputs)
    except (TypeError, ValueError, RuntimeError):  # the part takes other inputs
        return None
    largest = float(expected.abs().max())
    is_close = torch.allclose(actual, expected, rtol=0, atol=_TOLERANCE[dtype] * largest)
    return form if is_close else None
