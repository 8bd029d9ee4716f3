"""Frozen linear layers over packed weights: oneDNN's blocked layout here.

`int8_weight.py` and `widened_weight.py` have fewer bits. `pack_model.py` says which layers are replaced.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from server.model.cpu.few_rows import After, Panels

_EXACT_ROWS, _ROWS_STEP = 64, 8
_LINEAR = torch.ops.mkldnn._linear_pointwise
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class PackedWeight(Protocol):
    """A frozen weight `[out_features, in_features]` in a form that multiplies fast. It is never written."""

    @property
    def shape(self) -> Sequence[int]:
        """`out_features` and `in_features`."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows that it multiplies."""

    def dense(self) -> torch.Tensor:
        """The numbers that it holds, `[out_features, in_features]`."""

    def multiply(
        self, hidden: torch.Tensor, bias: torch.Tensor | None, after: After, term: torch.Tensor | None = None
    ) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""


@dataclass(frozen=True, slots=True, eq=False)
class OneDnnWeight:
    """A weight in oneDNN's layout.

    `kept` is the original weight, if another module holds it anyway. `panels` are the packed numbers as products of few
    rows read them, if they can be.
    """

    packed: torch.Tensor
    kept: torch.Tensor | None = None
    panels: Panels | None = None

    @property
    def shape(self) -> Sequence[int]:
        """`out_features` and `in_features`."""
        return self.packed.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight and the rows."""
        return self.packed.dtype

    def dense(self) -> torch.Tensor:
        """The weight as it was, bit for bit; unpacked at each call where nothing else keeps it."""
        return self.packed.to_dense() if self.kept is None else self.kept

    def multiply(
        self, hidden: torch.Tensor, bias: torch.Tensor | None, after: After, term: torch.Tensor | None = None
    ) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        few = None if self.panels is None else self.panels.multiply(hidden, bias, after, term)
        if few is not None:
            return few
        if term is None:
            return multiply(hidden, self.packed, bias, after)
        product: torch.Tensor = _LINEAR.binary(hidden, term, self.packed, bias, after)
        return product


class PackedLinear(torch.nn.Module):
    """`x @ weight.T + bias` over a packed frozen weight. Gradients reach the input alone."""

    def __init__(self, packed: PackedWeight, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.packed = packed
        self.bias = bias
        self.out_features, self.in_features = packed.shape

    def clone(self) -> PackedLinear:
        """Another module over the same numbers."""
        return PackedLinear(self.packed, self.bias).train(self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedLinear:
        """Share the packed weight: it is never written."""
        return self.clone()

    @property
    def weight(self) -> torch.Tensor:
        """The numbers of the packed weight, which may be unpacked at each access."""
        return self.packed.dense()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        if hidden.requires_grad and torch.is_grad_enabled():
            product: torch.Tensor = _PackedProduct.apply(hidden, self)  # type: ignore[no-untyped-call]
            return product
        return self.packed.multiply(hidden, self.bias, "none")

    def silu(self, hidden: torch.Tensor) -> torch.Tensor:
        """`silu(self(hidden))` in one kernel, without a gradient, as the next three."""
        return self.packed.multiply(hidden, self.bias, "swish")

    def gelu(self, hidden: torch.Tensor) -> torch.Tensor:
        """`gelu(self(hidden))` in one kernel, by the error function."""
        return self.packed.multiply(hidden, self.bias, "gelu")

    def times(self, hidden: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """`self(hidden) * factor` `[..., out_features]`."""
        return self.packed.multiply(hidden, self.bias, "mul", factor)

    def plus(self, hidden: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
        """`self(hidden) + term` `[..., out_features]`."""
        return self.packed.multiply(hidden, self.bias, "add", term)

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
        """Its rows of the packed weight; unpacked at each access."""
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


def multiply(
    hidden: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, after: After = "none"
) -> torch.Tensor:
    """`[..., in_features]` to `[..., out_features]`, over a packed weight, by oneDNN."""
    product: torch.Tensor = _LINEAR.default(hidden, packed, bias, after, [], "none" if after == "gelu" else "")
    return product


class _PackedProduct(torch.autograd.Function):
    """The product, differentiable in its input. The backward unpacks the weight for as long as it takes."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        return layer.packed.multiply(hidden, layer.bias, "none")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.weight, None
