"""Products of a few rows with a packed weight, read where oneDNN has put it (`few_rows.c`).

A step of one sequence is bound by reading the weights once, and oneDNN's kernels for one to six rows read them at two
thirds of the speed that memory has.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal

import torch

from server.model.cpu.attention import is_built

if is_built():
    from server.model.cpu import _cpu

    LANES = _cpu.few_rows_lanes()
else:
    LANES = 0

MAX_ROWS = {16: 32, 8: 8, 0: 0}[LANES]
"""Up to so many rows it is faster than oneDNN, by the floats of a vector (`docs/experiments.md`)."""

AFTER: dict[str, int] = {"none": 0, "swish": 1, "mul": 2, "add": 3}
"""Those of what may follow that the C module computes, by its numbers."""

_PANEL_COLUMNS, _INPUTS_STEP, _BYTES = 64, 16, 4

After = Literal["none", "swish", "gelu", "mul", "add"]
"""What follows the product, by oneDNN's names: nothing, SiLU, GELU, times a term, plus a term."""


@dataclass(frozen=True, slots=True)
class Panels:
    """A packed weight's numbers: `[num_panels, padded_inputs, 64]` float32 at an address that `packed` keeps alive."""

    packed: torch.Tensor
    address: int
    padded_inputs: int

    def multiply(
        self, hidden: torch.Tensor, bias: torch.Tensor | None, after: After, term: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """`[..., in_features]` to `[..., out_features]`; None where the rows are too many, or lie in another way."""
        num_outputs, num_inputs = self.packed.shape
        num_rows = hidden.numel() // num_inputs
        shape = (*hidden.shape[:-1], num_outputs)
        is_offered = 0 < num_rows <= MAX_ROWS and after in AFTER
        if not (is_offered and is_plain(hidden) and (term is None or is_plain(term, shape))):
            return None
        output = hidden.new_empty(shape)
        _cpu.few_rows(
            output.data_ptr(),
            hidden.data_ptr(),
            self.address,
            0 if bias is None else bias.data_ptr(),
            0 if term is None else term.data_ptr(),
            num_rows,
            num_inputs,
            self.padded_inputs,
            num_outputs,
            AFTER[after],
            LANES,
            torch.get_num_threads(),
        )
        return output


def is_plain(rows: torch.Tensor, shape: tuple[int, ...] | None = None) -> bool:
    """Return whether rows lie side by side in float32, and have a shape if one is given: the C module reads them so."""
    return rows.is_contiguous() and rows.dtype == torch.float32 and shape in (None, tuple(rows.shape))


def panels_of(packed: torch.Tensor, weight: torch.Tensor) -> Panels | None:
    """The panels of a packed `weight` `[out_features, in_features]`, or None where it is laid out in another way.

    The layout is oneDNN's own affair: the size must be that of panels, and the first and last of them must hold what
    the weight has there.
    """
    num_outputs, num_inputs = weight.shape
    num_columns, padded_inputs = _rounded_up(num_outputs, _PANEL_COLUMNS), _rounded_up(num_inputs, _INPUTS_STEP)
    is_offered = MAX_ROWS > 0 and weight.dtype == torch.float32
    if not is_offered or torch.ops.mkldnn._nbytes(packed) != num_columns * padded_inputs * _BYTES:
        return None
    address = torch.ops.mkldnn.data_ptr(packed)
    numbers = (ctypes.c_float * (num_columns * padded_inputs)).from_address(address)
    panels = torch.frombuffer(numbers, dtype=torch.float32).view(-1, padded_inputs, _PANEL_COLUMNS)
    for index in (0, len(panels) - 1):
        columns = weight[index * _PANEL_COLUMNS : (index + 1) * _PANEL_COLUMNS].t()
        expected = torch.zeros_like(panels[index])
        expected[:num_inputs, : columns.shape[1]] = columns
        if not torch.equal(panels[index], expected):
            return None
    return Panels(packed, address, padded_inputs)


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step
