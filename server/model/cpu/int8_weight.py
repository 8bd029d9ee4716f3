"""A weight of 8 bits per number with one scale per output, and its product with rows quantised in blocks.

The product is defined by integers. A block `x` of 64 inputs of a row becomes `round(x * 127 / max(abs(x)))`, and all
weights of an output the same. The sum of a block's products is exact; a block's scale and an output's multiply it in
float32. So the result for a row does not depend on the other rows. `int8_rows.c` computes it. Without a C compiler
PyTorch multiplies the dequantised numbers, slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from server.model.cpu.attention import is_built
from server.model.cpu.few_rows import AFTER, After, is_plain

if is_built():
    from server.model.cpu import _cpu

    KIND = _cpu.int8_kind()
else:
    KIND = 0
"""The instruction set of products: 3 AVX-512 VNNI, 2 AVX-VNNI, 1 AVX2, 0 PyTorch's own."""

KIND_NAMES = {0: "PyTorch's product", 1: "AVX2", 2: "AVX-VNNI", 3: "AVX-512 VNNI"}
INT8_EPSILON = 1 / 127
"""The relative step of integers of 8 bits."""
BLOCK = 64
"""Inputs of a row that share a scale. One scale for a whole row costs much more quality (`docs/experiments.md`)."""

_LARGEST, _OFFSET, _PANEL_COLUMNS = 127, 128, 64
_GROUPS = {1: 2, 2: 4, 3: 4}


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weight:
    """`[num_outputs, num_inputs]` integers from -127 to 127, and `scales` float32 `[num_outputs]`.

    `numbers` is uint8 `[num_panels, num_groups, 64, group]`, 128 above the integers, as the C module reads them; int8
    `[num_outputs, num_inputs]` where `kind` is 0. The groups fill whole blocks.
    """

    numbers: torch.Tensor
    scales: torch.Tensor
    shape: tuple[int, int]
    kind: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows that it multiplies."""
        return torch.float32

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers and the scales."""
        return self.numbers.nbytes + self.scales.nbytes

    def dense(self) -> torch.Tensor:
        """Float32 `[num_outputs, num_inputs]`, made at each call."""
        return self.integers().float() * self.scales[:, None]

    def integers(self) -> torch.Tensor:
        """Int8 `[num_outputs, num_inputs]`."""
        if not self.kind:
            return self.numbers
        num_outputs, num_inputs = self.shape
        dense = self.numbers.transpose(1, 2).reshape(-1, self.numbers.shape[1] * self.numbers.shape[3])
        return _signed(dense[:num_outputs, :num_inputs])

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Float32 `[..., num_inputs]` of the outputs with these ids `[...]`: an embedding's look-up."""
        if not self.kind:
            integers = self.numbers[ids]
        else:
            panel, column = ids // _PANEL_COLUMNS, ids % _PANEL_COLUMNS
            integers = _signed(self.numbers[panel, :, column].flatten(-2)[..., : self.shape[1]])
        return integers.float() * self.scales[ids][..., None]

    def multiply(
        self, hidden: torch.Tensor, bias: torch.Tensor | None, after: After, term: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Float32 `[..., num_inputs]` to `[..., num_outputs]`."""
        if after == "gelu":
            return torch.nn.functional.gelu(self.multiply(hidden, bias, "none"))
        num_outputs, num_inputs = self.shape
        shape = (*hidden.shape[:-1], num_outputs)
        hidden = hidden.contiguous()
        if term is not None:
            term = term.expand(shape).contiguous()
        if not hidden.numel():
            return hidden.new_empty(shape)
        if not (self.kind and is_plain(hidden)):
            return finish(self._product(hidden.float()), bias, after, term)
        output = hidden.new_empty(shape)
        _cpu.int8_rows(
            output.data_ptr(),
            hidden.data_ptr(),
            self.numbers.data_ptr(),
            self.scales.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            0 if term is None else term.data_ptr(),
            hidden.numel() // num_inputs,
            num_inputs,
            num_outputs,
            self.numbers.shape[1],
            AFTER[after],
            self.kind,
            torch.get_num_threads(),
        )
        return output

    def _product(self, hidden: torch.Tensor) -> torch.Tensor:
        integers, scales = quantise_rows(hidden)
        rounded = (integers.float() * scales).flatten(-2)[..., : hidden.shape[-1]]
        return torch.nn.functional.linear(rounded, self.integers().float()) * self.scales


def quantise_weight(weight: torch.Tensor, kind: int = KIND) -> Int8Weight:
    """Quantise `[num_outputs, num_inputs]`, each output by itself, as the instruction set `kind` reads it."""
    num_outputs, num_inputs = weight.shape
    integers, scales = quantise(weight.float())
    if kind:
        group = _GROUPS[kind]
        padding = (0, -num_inputs % BLOCK, 0, -num_outputs % _PANEL_COLUMNS)
        padded = torch.nn.functional.pad(_unsigned(integers), padding, value=_OFFSET)
        integers = padded.view(-1, _PANEL_COLUMNS, padded.shape[1] // group, group).transpose(1, 2).contiguous()
    return Int8Weight(integers, scales[:, 0].contiguous(), (num_outputs, num_inputs), kind)


def quantise_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Int8 of float32 `[..., width]` as `[..., num_blocks, 64]`, and the scales `[..., num_blocks, 1]`.

    Zeros fill the last block. A block that is not finite has no integers.
    """
    padded = torch.nn.functional.pad(rows, (0, -rows.shape[-1] % BLOCK))
    return quantise(padded.view(*rows.shape[:-1], padded.shape[-1] // BLOCK, BLOCK))


def quantise(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers from -127 to 127 of the same shape, and one scale for the last dimension."""
    largest = rows.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where((largest > 0) & largest.isfinite(), torch.full_like(largest, _LARGEST) / largest, 0.0)
    integers = torch.nan_to_num(rows * inverse, nan=0.0).round_().to(torch.int8)
    return integers, largest / _LARGEST


def _signed(numbers: torch.Tensor) -> torch.Tensor:
    """128 less, by the highest bit."""
    return (numbers ^ _OFFSET).view(torch.int8)


def _unsigned(integers: torch.Tensor) -> torch.Tensor:
    """128 more, by the highest bit."""
    return integers.view(torch.uint8) ^ _OFFSET


def finish(product: torch.Tensor, bias: torch.Tensor | None, after: After, term: torch.Tensor | None) -> torch.Tensor:
    """Add the bias and what follows a product; `after` is no "gelu"."""
    product = product if bias is None else product + bias
    if after == "swish":
        return torch.nn.functional.silu(product)
    if term is None:
        return product
    return product * term if after == "mul" else product + term
