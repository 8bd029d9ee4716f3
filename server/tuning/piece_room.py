"""Memory that one piece of a run may take, measured before each piece."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from server.model.memory import unused_bytes
from server.tuning.cost import bytes_of_copies

_SHARE = 0.25
"""Share of the memory left. Another quarter at most belongs to the KV cache, whose pages count as left until used."""


@dataclass(frozen=True, slots=True)
class PieceRoom:
    """A share of the memory that is left on `device`, but at most `max_bytes`."""

    device: torch.device
    max_bytes: int | None

    @classmethod
    def of_run(cls, device: torch.device, memory_bytes: int | None, num_parameters: int) -> PieceRoom:
        """Room of a run that may take `memory_bytes`, of which its parameters and their copies take a part."""
        if memory_bytes is None:
            return cls(device, None)
        return cls(device, max(0, memory_bytes - bytes_of_copies(num_parameters)))

    def measure(self) -> int:
        """Bytes that a piece may take now."""
        left = int(_SHARE * unused_bytes(self.device))
        return left if self.max_bytes is None else min(left, self.max_bytes)
