"""The ragged batch: sequences of an encoder end to end, without padding, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from server.model.prefix import Prefix, PrefixKind


@dataclass(frozen=True, slots=True, eq=False)
class EncoderInput:
    """One sequence: text tokens behind a prefix, or alone."""

    token_ids: Sequence[int]
    prefix: Prefix | None = None

    @property
    def num_virtual_rows(self) -> int:
        """Rows of the batch before those of the text: an embeddings prefix is computed anew in each sequence."""
        return 0 if self.prefix is None or self.prefix.kind is not PrefixKind.EMBEDDINGS else len(self.prefix.tensor)

    @property
    def num_key_values(self) -> int:
        """Positions before the first row that are keys and values alone."""
        return 0 if self.prefix is None or self.prefix.kind is not PrefixKind.KEY_VALUES else len(self.prefix.tensor)

    @property
    def num_rows(self) -> int:
        """Rows of the batch that it takes."""
        return self.num_virtual_rows + len(self.token_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Sequences side by side with the same number of rows and of keys and values before them.

    They take `num_sequences * num_rows` rows of the batch, from `first` on. `key_values` has one tensor per sequence,
    `[2 * num_layers, num_kv_heads, num_key_values, head_dim]`, or is empty.
    """

    first: int
    num_sequences: int
    num_rows: int
    key_values: tuple[torch.Tensor, ...] = ()

    @property
    def last(self) -> int:
        """The row behind its last one."""
        return self.first + self.num_sequences * self.num_rows

    @property
    def num_key_values(self) -> int:
        """Positions before the first row of each sequence."""
        return int(self.key_values[0].shape[2]) if self.key_values else 0


def grouped(inputs: Sequence[EncoderInput]) -> list[list[int]]:
    """The indices of sequences with equal sizes, together, the shortest first."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, one in enumerate(inputs):
        groups.setdefault((one.num_key_values, one.num_rows), []).append(index)
    return [groups[size] for size in sorted(groups)]
