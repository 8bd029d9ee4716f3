"""Memory of a run, estimated from shapes before it starts. The estimate is too low rather than too high."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint_records import BaseModel, PeftType
from server.model.base_model import LoadedModel
from server.tuning.plan import Method, TuningPlan

_NUM_COPIES = 10
"""Copies of a parameter: itself, its gradient and two moments; the rest are a checkpoint's tensors and bytes."""

_LAYER_WIDTHS = (8, 4, 3)
"""Numbers per position that one layer keeps for its backward pass, in multiples of the hidden size, of all query heads'
size and of the intermediate size (measured on Llama: docs/experiments.md)."""

_EXPERT_WIDTH = 3
"""The same per expert of a token, in multiples of the hidden size: its input, its output, and that weighted."""

_NUM_SCORE_COPIES = 3
"""Scores, their softmax and its gradient."""

_NUM_LOGIT_COPIES = 3
"""Logits, the logarithm of their softmax, and its gradient."""

_GIB = 1024**3
MORE_MEMORY = "or give the machine more memory (--tuning-memory-gib, where it is set)"


@dataclass(frozen=True, slots=True)
class Costs:
    """Sizes of a base model that decide the memory of its runs.

    `attention_size` is the size of all query heads, `intermediate_size` that of all experts of a token, `num_experts`
    of them (0 without experts). `num_bytes` is the size of one number. With `is_fused`, long examples attend without a
    matrix of scores.
    """

    hidden_size: int
    attention_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_bytes: int
    is_fused: bool
    num_experts: int = 0
    vocab_size: int = 0

    def layer_bytes(self, num_positions: int, width: int) -> int:
        """Bytes that one layer keeps for its backward pass, in examples of at most `width` positions."""
        hidden, attention, intermediate = _LAYER_WIDTHS
        layer = (hidden + _EXPERT_WIDTH * self.num_experts) * self.hidden_size
        layer += attention * self.attention_size + intermediate * self.intermediate_size
        scores = 0 if self.is_fused else _NUM_SCORE_COPIES * self.num_heads * width
        return num_positions * (layer + scores) * self.num_bytes

    def piece_bytes(self, num_positions: int, width: int) -> int:
        """Bytes of one forward and backward pass in which every layer is recomputed, so that one layer is kept."""
        inputs = num_positions * self.num_layers * self.hidden_size * self.num_bytes
        return inputs + self.layer_bytes(num_positions, width)

    def logit_bytes(self, num_targets: int) -> int:
        """Bytes of the float32 logits of this many targets, and of what their loss keeps of them."""
        return 4 * _NUM_LOGIT_COPIES * num_targets * self.vocab_size


def costs_of(loaded: LoadedModel) -> Costs:
    """Costs of runs on this base model."""
    config = loaded.model.config.get_text_config()
    hidden_size, layers = loaded.architecture.hidden_size, loaded.architecture.layers
    heads, experts = num_heads(config), _num_experts(config)
    return Costs(
        hidden_size=hidden_size,
        attention_size=heads * max(layer.key_dim for layer in layers),
        intermediate_size=_intermediate_size(config, experts) or 4 * hidden_size,
        num_layers=len(layers),
        num_heads=heads,
        num_bytes=loaded.dtype.itemsize,
        is_fused=getattr(config, "attn_logit_softcapping", None) is None and not _has_sinks(loaded.model),
        num_experts=experts,
        vocab_size=loaded.architecture.vocab_size,
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
        case Method.PREFIX_TUNING | Method.CARTRIDGE:
            num_values = math.prod(LAYOUTS[PeftType.PREFIX_TUNING].prefix_shape(num_virtual, base))
    return bytes_of_copies(num_values)


def bytes_of_copies(num_values: int) -> int:
    """Bytes of this many trainable numbers with all their copies."""
    return 4 * _NUM_COPIES * num_values


def too_much(needed: int, room: int) -> str:
    """Words for a number of bytes that exceeds the room."""
    return f"about {needed / _GIB:.1f} GiB of memory where {room / _GIB:.1f} GiB are left"


def _intermediate_size(config: Any, num_experts: int) -> int | None:
    """Size of a dense layer or of all experts of a token, whichever is larger. None if nothing names it."""
    dense = _first_number(config, ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"))
    if not num_experts:
        return dense
    expert = _first_number(config, ("moe_intermediate_size",)) or dense or 0
    shared = _first_number(config, ("shared_expert_intermediate_size",)) or 0
    return max(dense or 0, num_experts * expert + shared) or None


def _num_experts(config: Any) -> int:
    """Experts that a token takes; 0 without experts."""
    return _first_number(config, ("num_experts_per_tok", "moe_k")) or 0


def _has_sinks(model: torch.nn.Module) -> bool:
    """Whether attention has sinks, which take plain matrix products (gpt-oss)."""
    return any(name.endswith(".sinks") for name, _ in model.named_parameters())


def _first_number(config: Any, names: tuple[str, ...]) -> int | None:
    return next((size for name in names if isinstance(size := getattr(config, name, None), int)), None)
