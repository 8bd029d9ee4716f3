"""Memory of a run, estimated from shapes before it starts. The estimate is too low rather than too high."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.records import BaseModel, PeftType
from server.model.base_model import LoadedModel
from server.tuning.plan import Method, TuningPlan

_NUM_COPIES = 10
"""Copies of a parameter: itself, its gradient and two moments; the rest are a checkpoint's tensors and bytes."""

_LAYER_WIDTHS = (12, 3)
"""Numbers per position that one layer keeps for its backward pass, in multiples of the hidden and the intermediate size
(measured on Llama: docs/experiments.md)."""

_NUM_SCORE_COPIES = 3
"""Scores, their softmax and its gradient."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Sizes of a base model that decide the memory of its runs.

    `num_bytes` is the size of one number. With `is_fused`, long examples attend without a matrix of scores.
    """

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_bytes: int
    is_fused: bool

    def layer_bytes(self, num_positions: int, width: int) -> int:
        """Bytes that one layer keeps for its backward pass, in examples of at most `width` positions."""
        hidden, intermediate = _LAYER_WIDTHS
        layer = hidden * self.hidden_size + intermediate * self.intermediate_size
        scores = 0 if self.is_fused else _NUM_SCORE_COPIES * self.num_heads * width
        return num_positions * (layer + scores) * self.num_bytes

    def piece_bytes(self, num_positions: int, width: int) -> int:
        """Bytes of one forward and backward pass in which every layer is recomputed, so that one layer is kept."""
        inputs = num_positions * self.num_layers * self.hidden_size * self.num_bytes
        return inputs + self.layer_bytes(num_positions, width)


def costs_of(loaded: LoadedModel) -> Costs:
    """Costs of runs on this base model."""
    config = loaded.model.config.get_text_config()
    hidden_size = loaded.architecture.hidden_size
    return Costs(
        hidden_size=hidden_size,
        intermediate_size=_intermediate_size(config) or 4 * hidden_size,
        num_layers=loaded.architecture.num_layers,
        num_heads=num_heads(config),
        num_bytes=loaded.dtype.itemsize,
        is_fused=getattr(config, "attn_logit_softcapping", None) is None,
    )


def num_heads(config: Any) -> int:
    """Largest number of attention heads per layer in a configuration; 1 if it has none."""
    named = getattr(config, "num_attention_heads", None) or 1
    return max(named) if isinstance(named, list | tuple) else int(named)


def parameter_bytes(plan: TuningPlan, base: BaseModel) -> int:
    """Bytes of the trainable parameters with all their copies in a run and its checkpoints."""
    num_virtual, hidden = plan.num_virtual_tokens, base.hidden_size
    match plan.method:
        case Method.PROMPT_TUNING:
            num_values = num_virtual * hidden
        case Method.P_TUNING:
            inner = plan.encoder_hidden_size or hidden
            num_values = num_virtual * hidden + hidden * inner + inner * inner + inner * hidden + 2 * inner + hidden
        case Method.PREFIX_TUNING:
            num_values = math.prod(LAYOUTS[PeftType.PREFIX_TUNING].prefix_shape(num_virtual, base))
    return 4 * _NUM_COPIES * num_values


def _intermediate_size(config: Any) -> int | None:
    for name in ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"):
        if isinstance(size := getattr(config, name, None), int):
            return size
    return None
