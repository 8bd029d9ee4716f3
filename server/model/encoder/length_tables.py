"""Tensors that depend on the number of rows of a sequence alone, kept for the lengths in use."""

from __future__ import annotations

from collections.abc import Callable

import torch

_MAX_BYTES = 64 << 20


class LengthTables:
    """One table for each length, within a number of bytes; the latest one is kept even when it alone exceeds them.

    `make` makes the table for `rows` `[…, num_rows, width]`, of which only the size and the device count.
    """

    def __init__(self, make: Callable[[torch.Tensor], torch.Tensor], max_bytes: int = _MAX_BYTES) -> None:
        self._make = make
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._tables: dict[tuple[int, torch.device], torch.Tensor] = {}

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """The table for as many rows."""
        key = (rows.shape[-2], rows.device)
        table = self._tables.pop(key, None)
        if table is None:
            table = self._make(rows)
            self._num_bytes += table.nbytes
        self._tables[key] = table  # the last one used
        while self._num_bytes > self._max_bytes and len(self._tables) > 1:
            self._num_bytes -= self._tables.pop(next(iter(self._tables))).nbytes
        return table
