"""Frozen linear layers in the memory layout that a CPU multiplies fastest (oneDNN's blocked weights).

The packed weight replaces the original. Only a matrix that is the token embedding too is kept twice: look-ups need the
original. A layer is replaced only if its packed form gives the original's numbers. The query, key and value projections
of an attention layer read the same rows, and are packed as one.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

# Below this many weights the kernel's fixed cost (about 13 µs per call) is larger than its gain.
_MIN_WEIGHTS = 1 << 16
# oneDNN makes a kernel per number of rows and shape of layer, in about 0.5 ms and 0.6 MiB. By default it and PyTorch
# each keep 1,024 of them: over 600 MiB for one model.
_KERNELS_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "256"}
_EXACT_ROWS, _ROWS_STEP = 64, 8
_LINEAR = torch.ops.mkldnn._linear_pointwise
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


@dataclass(frozen=True, slots=True)
class Packing:
    """The result of packing. `num_bytes_twice` is the memory of packed weights whose originals are kept too."""

    num_layers: int
    num_bytes_twice: int


class PackedLinear(torch.nn.Module):
    """`x @ weight.T + bias` over a packed frozen weight `[out_features, in_features]`.

    Gradients reach the input alone. `kept` is the original weight, if another module holds it anyway.
    """

    def __init__(self, packed: torch.Tensor, bias: torch.Tensor | None, kept: torch.Tensor | None = None) -> None:
        super().__init__()
        self.packed = packed
        self.bias = bias
        self.kept = kept
        self.out_features, self.in_features = packed.shape

    def clone(self) -> PackedLinear:
        """Another module over the same numbers."""
        return PackedLinear(self.packed, self.bias, self.kept).train(self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedLinear:
        """Share the packed tensor: it cannot be copied, and is never written."""
        return self.clone()

    @property
    def weight(self) -> torch.Tensor:
        """The weight as it was, bit for bit; unpacked at each access where nothing else keeps it."""
        return self.packed.to_dense() if self.kept is None else self.kept

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        if hidden.requires_grad and torch.is_grad_enabled():
            product: torch.Tensor = _PackedProduct.apply(hidden, self)  # type: ignore[no-untyped-call]
            return product
        return _multiply(hidden, self.packed, self.bias)

    def silu(self, hidden: torch.Tensor) -> torch.Tensor:
        """`silu(self(hidden))` in one kernel, without a gradient, as the next two."""
        product: torch.Tensor = _LINEAR.default(hidden, self.packed, self.bias, "swish", [], "")
        return product

    def times(self, hidden: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """`self(hidden) * factor` `[..., out_features]`."""
        product: torch.Tensor = _LINEAR.binary(hidden, factor, self.packed, self.bias, "mul")
        return product

    def plus(self, hidden: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
        """`self(hidden) + term` `[..., out_features]`."""
        product: torch.Tensor = _LINEAR.binary(hidden, term, self.packed, self.bias, "add")
        return product

    def extra_repr(self) -> str:
        """Shapes, as `torch.nn.Linear` prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class JointProjection:
    """Several linear layers of one input, over one packed weight: each takes its columns of one product.

    The product is cached for one input tensor until every layer has taken its columns. Another tensor, or a layer that
    takes its columns twice, computes a new product.
    """

    def __init__(self, whole: PackedLinear, sizes: tuple[int, ...]) -> None:
        self.whole = whole
        self.sizes = sizes
        self._hidden: torch.Tensor | None = None
        self._parts: dict[int, torch.Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> JointProjection:
        """A second one over the same numbers, for the copies of all layers that share this one."""
        memo[id(self)] = copied = JointProjection(self.whole.clone(), self.sizes)
        return copied

    def split(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`[..., in_features]` to the product of each layer `[..., size]`: views of one tensor."""
        product = self.whole(hidden)
        ends = itertools.accumulate(self.sizes)
        return tuple(product[..., end - size : end] for end, size in zip(ends, self.sizes, strict=True))

    def take(self, index: int, hidden: torch.Tensor) -> torch.Tensor:
        """The product of one layer."""
        if self._hidden is not hidden or index not in self._parts:
            self._hidden, self._parts = hidden, dict(enumerate(self.split(hidden)))
        part = self._parts.pop(index)
        if not self._parts:
            self._hidden = None
        return part


class JointLinear(torch.nn.Module):
    """One of a joint projection's layers, under its own name in the module tree."""

    def __init__(self, joint: JointProjection, index: int) -> None:
        super().__init__()
        self.joint = joint
        self.index = index
        self.in_features, self.out_features = joint.whole.in_features, joint.sizes[index]

    @property
    def weight(self) -> torch.Tensor:
        """The weight as it was, bit for bit; unpacked at each access."""
        return self.joint.whole.weight[self._columns]

    @property
    def bias(self) -> torch.Tensor | None:
        """The bias as it was."""
        whole = self.joint.whole.bias
        return None if whole is None else whole[self._columns]

    @property
    def _columns(self) -> slice:
        first = sum(self.joint.sizes[: self.index])
        return slice(first, first + self.out_features)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        return self.joint.take(self.index, hidden)

    def extra_repr(self) -> str:
        """Shapes, as `torch.nn.Linear` prints them."""
        bias = self.joint.whole.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


def padded_rows(num_rows: int) -> int:
    """The number of rows to compute for `num_rows`: rounded up, so that few kernels are made.

    Up to 64 rows nothing is added, since each row costs time. Above, at most 7 are.
    """
    return num_rows if num_rows <= _EXACT_ROWS else -(-num_rows // _ROWS_STEP) * _ROWS_STEP


def pack_linears(model: torch.nn.Module) -> Packing:
    """Replace every frozen linear layer on a CPU whose packed form is faster and gives the same numbers.

    Bounds the libraries' caches of kernels, unless the environment sets them. The libraries read the environment when
    they first cache a kernel.
    """
    for name, number in _KERNELS_KEPT.items():
        os.environ.setdefault(name, number)
    modules = list(model.named_modules(remove_duplicate=False))
    kept = {
        parameter.data_ptr()
        for _, module in modules
        if _weight_of(module) is None
        for parameter in module.parameters(recurse=False)
    }
    num_joint = sum(_join(module) for _, module in modules)
    replaced: dict[int, PackedLinear | None] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        weight = _weight_of(module)
        if weight is None or weight.numel() < _MIN_WEIGHTS:
            continue
        if id(module) not in replaced:
            replaced[id(module)] = _pack(weight, module.bias, is_kept=weight.data_ptr() in kept)
        packed = replaced[id(module)]
        if packed is not None:
            model.set_submodule(name, packed)
    layers = [packed for packed in replaced.values() if packed is not None]
    num_bytes_twice = sum(layer.kept.nbytes for layer in layers if layer.kept is not None)
    return Packing(len(layers) + num_joint, num_bytes_twice)


def _join(attention: torch.nn.Module) -> int:
    """Pack an attention layer's projections as one, if it has them; returns how many there are."""
    linears: list[Any] = [
        linear for name in PROJECTIONS if type(linear := getattr(attention, name, None)) is torch.nn.Linear
    ]
    weights = [weight for linear in linears if (weight := _weight_of(linear)) is not None]
    biases = [linear.bias for linear in linears if linear.bias is not None]
    if len(weights) < len(PROJECTIONS) or len(biases) not in (0, len(PROJECTIONS)):
        return 0
    if len({weight.shape[1] for weight in weights}) > 1 or sum(weight.numel() for weight in weights) < _MIN_WEIGHTS:
        return 0
    whole = _pack(torch.cat(weights), torch.cat(biases) if biases else None, is_kept=False)
    if whole is None:
        return 0
    joint = JointProjection(whole, tuple(weight.shape[0] for weight in weights))
    for index, name in enumerate(PROJECTIONS):
        attention.set_submodule(name, JointLinear(joint, index).train(False))
    return len(PROJECTIONS)


def _weight_of(module: torch.nn.Module) -> torch.Tensor | None:
    """The weight `[out_features, in_features]` of a layer that packing may replace; None for any other module."""
    if type(module) is torch.nn.Linear:
        weight = module.weight.detach()
    elif type(module) is Conv1D:
        weight = module.weight.detach().t()
    else:
        return None
    if module.weight.requires_grad or weight.device.type != "cpu":
        return None
    return weight if _is_supported(weight.dtype) else None


def _is_supported(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def _pack(weight: torch.Tensor, bias: torch.Tensor | None, is_kept: bool) -> PackedLinear | None:
    """The packed layer, or None if its numbers differ from the original's."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    probe = torch.linspace(-1, 1, 3 * weight.shape[1]).reshape(3, -1).to(weight.dtype)
    expected = F.linear(probe, weight, bias)
    close = torch.allclose(
        _multiply(probe, packed, bias), expected, rtol=0, atol=_TOLERANCE[weight.dtype] * float(expected.abs().max())
    )
    return PackedLinear(packed, bias, weight if is_kept else None).train(False) if close else None


def _multiply(hidden: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product: torch.Tensor = _LINEAR.default(hidden, packed, bias, "none", [], "")
    return product


class _PackedProduct(torch.autograd.Function):
    """The product, differentiable in its input. The backward unpacks the weight for as long as it takes."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        return _multiply(hidden, layer.packed, layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.weight, None
