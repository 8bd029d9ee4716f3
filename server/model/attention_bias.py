"""Additive biases of attention scores, as tables over positions: ALiBi, relative positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class AttentionBias:
    """Per query head, a number for each key: `table` is float32 `[num_heads, num_entries]`, contiguous.

    The key at position j has entry j. Where `is_relative`, the table is for the query at position i: the key at
    distance d has the entry d before that of its own key. Positions before the first entry share it. The query's own
    key has the last entry, or in an encoder, whose queries see what follows them, the one `num_after` before the last;
    positions behind the last entry share it too.
    """

    table: torch.Tensor
    is_relative: bool
    num_after: int = 0

    def shift(self, position: int) -> int:
        """What is added to a key's position to get its entry, for the query at `position`."""
        return self.table.shape[1] - 1 - position if self.is_relative else 0

    def rows(self, positions: torch.Tensor, num_slots: int) -> torch.Tensor:
        """Biases `[num_heads, ..., num_slots]` of queries at `positions` `[...]`.

        Without entries after the query's own, slots behind a query, which are masked, have any number.
        """
        last = self.table.shape[1] - 1
        slots = torch.arange(num_slots, device=positions.device)
        entries = slots.expand(*positions.shape, -1)
        if self.is_relative:
            entries = entries + (last - self.num_after - positions[..., None])
        return self.table[:, entries.clamp(0, last)]
