"""Medians with their spread, and ratios of what was measured side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeats, and the lowest and highest of them."""

    median: float
    low: float
    high: float
    num_repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None where nothing was measured."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


def paired_ratios(numerators: dict[str, float], denominators: dict[str, float]) -> list[float]:
    """Ratios round by round, for the rounds that have both: what slows the machine down slows both."""
    return [numerators[each] / denominators[each] for each in numerators if denominators.get(each)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
