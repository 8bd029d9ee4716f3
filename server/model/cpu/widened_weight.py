"""A weight that is stored in bfloat16, or in 8 bits per number with one scale per output, and multiplied in float32.

Rows stay as they are, so a result depends on the weight's rounding alone: a weight that came in bfloat16 is multiplied
exactly as its float32 copy, from half the memory. `widening_rows.c` widens numbers in registers. Without a C compiler
PyTorch multiplies a float32 copy, made at each call, slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from server.model.cpu.attention import is_built
from server.model.cpu.few_rows import AFTER, After, is_plain
from server.model.cpu.int8_weight import finish, quantise

if is_built():
    from server.model.cpu import _cpu

    LANES = _cpu.few_rows_lanes()
else:
    LANES = 0
"""Floats of this CPU's vectors: 16, 8, or 0 where PyTorch multiplies."""

LANES_NAMES = {0: "PyTorch's product", 8: "AVX2", 16: "AVX-512"}
_PANEL_COLUMNS, _BYTES = 64, 4


@dataclass(frozen=True, slots=True, eq=False)
class WidenedWeight:
    """`[num_outputs, num_inputs]` bfloat16, or int8 from -127 to 127 and `scales` float32 `[num_outputs]`.

    `numbers` is `[num_panels, num_inputs, 64 / (lanes * group), lanes, group]`, as the C module reads them with vectors
    of `lanes` floats: a group of two or four outputs has 32 bits. Where `lanes` is 0 it is `[num_outputs, num_inputs]`.
    """

    numbers: torch.Tensor
    scales: torch.Tensor | None
    shape: tuple[int, int]
    lanes: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows that it multiplies."""
        return torch.float32

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers and the scales."""
        return self.numbers.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def dense(self) -> torch.Tensor:
        """Float32 `[num_outputs, num_inputs]`, made at each call."""
        num_outputs, num_inputs = self.shape
        numbers = self.numbers
        if self.lanes:
            by_output = numbers.transpose(3, 4).reshape(-1, num_inputs, _PANEL_COLUMNS).transpose(1, 2)
            numbers = by_output.reshape(-1, num_inputs)[:num_outputs]
        return numbers.float() if self.scales is None else numbers.float() * self.scales[:, None]

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Float32 `[..., num_inputs]` of the outputs with these ids `[...]`: an embedding's look-up."""
        if not self.lanes:
            numbers = self.numbers[ids]
        else:
            column = ids % _PANEL_COLUMNS
            vector, lane, group = column // self.lanes, column % self.lanes, self.numbers.shape[4]
            numbers = self.numbers[ids // _PANEL_COLUMNS, :, vector // group, lane, vector % group]
        return numbers.float() if self.scales is None else numbers.float() * self.scales[ids][..., None]

    def multiply(
        self, hidden: torch.Tensor, bias: torch.Tensor | None, after: After, term: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Float32 `[..., num_inputs]` to `[..., num_outputs]`."""
        if after == "gelu":
            return F.gelu(self.multiply(hidden, bias, "none"))
        num_outputs, num_inputs = self.shape
        shape = (*hidden.shape[:-1], num_outputs)
        hidden = hidden.contiguous()
        if term is not None:
            term = term.expand(shape).contiguous()
        if not (self.lanes and hidden.numel() and is_plain(hidden)):
            return finish(F.linear(hidden.float(), self.dense()), bias, after, term)
        output = hidden.new_empty(shape)
        _cpu.widening_rows(
            output.data_ptr(),
            hidden.data_ptr(),
            self.numbers.data_ptr(),
            0 if self.scales is None else self.scales.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            0 if term is None else term.data_ptr(),
            hidden.numel() // num_inputs,
            num_inputs,
            num_outputs,
            AFTER[after],
            self.lanes,
            torch.get_num_threads(),
        )
        return output


def to_bfloat16(weight: torch.Tensor, lanes: int = LANES) -> WidenedWeight:
    """Round `[num_outputs, num_inputs]` to bfloat16, to the nearest; one that holds bfloat16 numbers stays as it is."""
    return WidenedWeight(_arranged(weight.to(torch.bfloat16), lanes), None, _shape(weight), lanes)


def to_int8(weight: torch.Tensor, lanes: int = LANES) -> WidenedWeight:
    """Quantise `[num_outputs, num_inputs]`, each output by itself."""
    integers, scales = quantise(weight.float())
    return WidenedWeight(_arranged(integers, lanes), scales[:, 0].contiguous(), _shape(weight), lanes)


def _arranged(numbers: torch.Tensor, lanes: int) -> torch.Tensor:
    if not lanes:
        return numbers.contiguous()
    group = _BYTES // numbers.element_size()
    padded = F.pad(numbers, (0, 0, 0, -numbers.shape[0] % _PANEL_COLUMNS))
    panels = padded.reshape(-1, _PANEL_COLUMNS // (lanes * group), group, lanes, numbers.shape[1])
    return panels.permute(0, 4, 1, 3, 2).contiguous()


def _shape(weight: torch.Tensor) -> tuple[int, int]:
    num_outputs, num_inputs = weight.shape
    return num_outputs, num_inputs
