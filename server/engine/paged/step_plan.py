"""The plan of one step."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.engine.paged.sequence import Sequence
from server.model.kv_cache import BlockCopy
from server.soft_prompts.residency import ResidentPrefix


@dataclass(slots=True)
class StepPlan:
    """One step: prefixes to load, then blocks to copy, then the number of tokens of each sequence to compute.

    `num_load_tokens` counts positions of prefixes and of encoder inputs.
    """

    chunks: dict[Sequence, int] = field(default_factory=dict)
    copies: dict[Sequence, BlockCopy] = field(default_factory=dict)
    loads: tuple[ResidentPrefix, ...] = ()
    num_load_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens that the step computes."""
        return sum(self.chunks.values())
