"""Decoder layers of the Llama kind in ten calls instead of sixty, in float32 on a CPU.

A layer is fused only if it has the parts of a Llama's (RMS norm, attention over rotated projections, RMS norm, gated
SiLU) and the fused form gives its numbers. Only the layer's `forward` is replaced: the twin is made from the same tree
of modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from server.model.attention import AttentionCall, AttentionContext, attending, current_context
from server.model.cpu.attention import is_built
from server.model.cpu.int8_weight import Int8Weight
from server.model.cpu.packing import PROJECTIONS, JointLinear, PackedLinear
from server.model.errors import UnsupportedArchitecture

if is_built():
    from server.model.cpu import _cpu

_LAYER_PARTS = frozenset({"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"})
_ATTENTION_PARTS = frozenset({*PROJECTIONS, "o_proj"})
_HEAD_NORMS = frozenset({"q_norm", "k_norm"})
_MLP_PARTS = frozenset({"gate_proj", "up_proj", "down_proj", "act_fn"})
_FAR = 1 << 20  # a position; angles apart, a fused layer does not know where it is, and some stock layers do
_TOLERANCE = 1e-5  # of the largest number
# A number between two integers of 8 bits is rounded up on one side and down on the other.
_INT8_TOLERANCE = 2e-2


def fuse_layers(model: torch.nn.Module) -> int:
    """Fuse every layer that can be, and the norm behind them, in place; returns how many layers.

    Linear layers must have been packed.
    """
    if not is_built():
        return 0
    fused = [(layer, form) for layer in model.modules() if (form := _fuse(layer)) is not None]
    for layer, form in fused:
        layer.forward = form
    for stack in model.modules():
        if (norm := _fuse_norm(stack)) is not None:
            stack.norm.forward = norm  # type: ignore[union-attr]
    return len(fused)


class RMSNorm:
    """`x / sqrt(mean(x^2) + epsilon) * weight` over rows as wide as the weight, in one pass."""

    def __init__(self, module: torch.nn.Module) -> None:
        weight, epsilon = module.weight, getattr(module, "variance_epsilon", None) or module.eps
        assert isinstance(weight, torch.Tensor)
        self.weight = weight.detach()
        self.epsilon = float(epsilon)  # type: ignore[arg-type]

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """`[..., width]` to the same shape."""
        output = torch.empty_like(rows)
        width = self.weight.shape[0]
        _cpu.rms_norm(
            output.data_ptr(),
            rows.data_ptr(),
            self.weight.data_ptr(),
            rows.numel() // width,
            width,
            self.epsilon,
            torch.get_num_threads(),
        )
        return output


class FusedLayer:
    """The forward pass of one decoder layer over the flat batch. `call` has the constants of its attention."""

    def __init__(self, layer: Any, call: AttentionCall) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.call = call
        self._constants = {
            name: getattr(call, name) for name in ("layer", "scaling", "sliding_window", "softcap", "sinks", "bias")
        }
        self.head_dim = call.query.shape[-1]
        self.before_attention = RMSNorm(layer.input_layernorm)
        self.projection = attention.q_proj.joint
        self.query_norm = RMSNorm(attention.q_norm) if hasattr(attention, "q_norm") else None
        self.key_norm = RMSNorm(attention.k_norm) if hasattr(attention, "k_norm") else None
        self.output = attention.o_proj
        self.before_mlp = RMSNorm(layer.post_attention_layernorm)
        self.gate, self.up, self.down = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def __call__(
        self,
        hidden_states: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        """`[1, num_tokens, hidden_size]` to the same shape; the two of `position_embeddings` `[1, num_tokens, dim]`."""
        normed = self.before_attention(hidden_states)
        projected, keys, values = self.projection.split(normed)
        query = self._heads(projected, self.query_norm)
        key = self._heads(keys, self.key_norm)
        self._rotate(query, position_embeddings)
        self._rotate(key, position_embeddings)
        value = self._heads(values, None)
        attended = current_context().attend(
            AttentionCall(
                query=query.transpose(0, 1), key=key.transpose(0, 1), value=value.transpose(0, 1), **self._constants
            )
        )
        hidden = self.output.plus(attended.reshape(1, len(attended), -1), hidden_states)
        normed = self.before_mlp(hidden)
        output: torch.Tensor = self.down.plus(self.up.times(normed, self.gate.silu(normed)), hidden)
        return output

    def _heads(self, projected: torch.Tensor, norm: RMSNorm | None) -> torch.Tensor:
        """`[1, num_tokens, num_heads * head_dim]` to `[num_tokens, num_heads, head_dim]`, a token's heads together."""
        rows = projected[0]
        heads = rows.view(len(rows), -1, self.head_dim)
        return heads if norm is None else norm(heads.contiguous())

    def _rotate(self, heads: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor]) -> None:
        cosine, sine = position_embeddings
        num_tokens, num_heads, dim = heads.shape
        if cosine.shape[-1] != dim:
            raise UnsupportedArchitecture(f"{cosine.shape[-1]} of a head's {dim} values are rotated, not all of them")
        _cpu.rotate(
            heads.data_ptr(),
            cosine.data_ptr(),
            sine.data_ptr(),
            num_tokens,
            num_heads,
            dim,
            heads.stride(0),
            torch.get_num_threads(),
        )


# --- which layers -----------------------------------------------------------------------------------------------------


def _fuse(layer: Any) -> FusedLayer | None:
    """The fused form, or None where the layer is built in another way or computes something else."""
    if not _is_built_alike(layer):
        return None
    width, head_dim = layer.input_layernorm.weight.shape[0], layer.self_attn.head_dim
    inputs, far = _inputs(width, head_dim), _inputs(width, head_dim, first=_FAR)
    stock, fused = _CausalAttention(), _CausalAttention()
    with torch.inference_mode():
        expected = _try(layer, inputs, stock)
        if expected is None or stock.call is None or not _is_equal(expected, _try(layer, far, _CausalAttention())):
            return None
        form = FusedLayer(layer, stock.call)
        actual = _try(form, inputs, fused)
    if actual is None or fused.call is None:
        return None
    pairs = [(expected, actual), *zip(_tensors(stock.call), _tensors(fused.call), strict=True)]
    tolerance = _INT8_TOLERANCE if isinstance(layer.mlp.down_proj.packed, Int8Weight) else _TOLERANCE
    return form if all(_is_close(ours, theirs, tolerance) for theirs, ours in pairs) else None


def _fuse_norm(stack: Any) -> RMSNorm | None:
    """The fused form of the norm behind a stack of fused layers, or None where there is none or it computes otherwise.

    The rows of a layer's output come to it, and no others.
    """
    names = _names(stack)
    if not {"layers", "norm"} <= names or not _is_norm(stack.norm):
        return None
    if not all(isinstance(layer.forward, FusedLayer) for layer in stack.layers):
        return None
    form = RMSNorm(stack.norm)
    rows = torch.randn(5, len(form.weight), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return form if _is_close(form(rows), stack.norm(rows), _TOLERANCE) else None


def _is_built_alike(layer: Any) -> bool:
    """Whether it has the parts of a Llama's layer, and no others, with packed float32 weights."""
    if _names(layer) != _LAYER_PARTS or _names(layer.mlp) != _MLP_PARTS:
        return False
    attention = layer.self_attn
    if _names(attention) - _HEAD_NORMS != _ATTENTION_PARTS or not isinstance(getattr(attention, "head_dim", None), int):
        return False
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    norms += [attention.get_submodule(name) for name in _HEAD_NORMS & _names(attention)]
    linears = [attention.get_submodule(name) for name in _ATTENTION_PARTS]
    linears += [layer.mlp.get_submodule(name) for name in _MLP_PARTS - {"act_fn"}]
    is_joint = all(isinstance(attention.get_submodule(name), JointLinear) for name in PROJECTIONS)
    return attention.head_dim % 2 == 0 and is_joint and all(map(_is_norm, norms)) and all(map(_is_packed, linears))


def _names(module: torch.nn.Module) -> frozenset[str]:
    return frozenset(name for name, _ in module.named_children())


def _is_norm(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    has_epsilon = hasattr(module, "variance_epsilon") or hasattr(module, "eps")
    is_plain = isinstance(weight, torch.Tensor) and weight.dtype == torch.float32 and weight.device.type == "cpu"
    return has_epsilon and is_plain and len(module._parameters) == 1


def _is_packed(module: torch.nn.Module) -> bool:
    module = module.joint.whole if isinstance(module, JointLinear) else module
    return isinstance(module, PackedLinear) and module.packed.dtype == torch.float32


class _CausalAttention:
    """Attends over one sequence, and keeps the call."""

    def __init__(self) -> None:
        self.call: AttentionCall | None = None

    def attend(self, call: AttentionCall) -> torch.Tensor:
        self.call = call
        attended = F.scaled_dot_product_attention(
            call.query[None], call.key[None], call.value[None], is_causal=True, scale=call.scaling, enable_gqa=True
        )
        return attended[0].transpose(0, 1)


def _is_equal(expected: torch.Tensor, found: torch.Tensor | None) -> bool:
    return found is not None and torch.equal(expected, found)


def _inputs(hidden_size: int, head_dim: int, num_tokens: int = 5, first: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    angles = torch.randn(1, num_tokens, head_dim // 2, generator=generator).repeat(1, 1, 2)
    return {
        "hidden_states": torch.randn(1, num_tokens, hidden_size, generator=generator),
        "position_embeddings": (angles.cos(), angles.sin()),
        "position_ids": torch.arange(first, first + num_tokens)[None],
        "use_cache": False,
    }


def _try(layer: Callable[..., Any], inputs: dict[str, Any], attention: AttentionContext) -> torch.Tensor | None:
    """None where the layer wants other inputs or gives another kind of output."""
    try:
        with attending(attention):
            output = layer(**inputs)
    except (TypeError, ValueError, RuntimeError, AttributeError, UnsupportedArchitecture):
        return None
    return output if isinstance(output, torch.Tensor) else None


def _tensors(call: AttentionCall) -> tuple[torch.Tensor, ...]:
    return call.query, call.key, call.value


def _is_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    scale = float(expected.abs().max())
    return actual.shape == expected.shape and torch.allclose(actual, expected, rtol=0, atol=tolerance * scale)
