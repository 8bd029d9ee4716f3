"""What the engine knows of a head."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import torch


class Rows(Enum):
    """The hidden states that a head reads. An encoder hands all of its own to any head, those of virtual tokens too."""

    LAST = "last"
    ALL = "all"


class Head(Protocol):
    """Makes an answer of the hidden states of one sequence."""

    @property
    def rows(self) -> Rows:
        """The rows that it reads on a decoder: of the last token that counts, or of every text token."""

    @property
    def num_bytes(self) -> int:
        """The memory of its parameters."""

    def num_read(self, token_ids: Sequence[int]) -> int:
        """Leading tokens of a text that count on a decoder, at least one: transformers skips padding at the end."""

    def __call__(self, hidden: torch.Tensor, num_virtual: int) -> torch.Tensor:
        """Hidden states `[num_rows, hidden_size]` to float32 `[n, width]` on the same device.

        The first `num_virtual` rows are of virtual tokens. `n` is 1, or the number of text rows.
        """
