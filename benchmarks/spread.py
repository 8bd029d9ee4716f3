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


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that has the median in at least 95 of 100 cases, by ranks; the whole range below six values.

    The number of values below the median is binomial, whatever their distribution.
    """
    ordered, count = sorted(values), len(values)
    rank, below = 0, 0.5**count
    while rank + 1 < count // 2 and below + math.comb(count, rank + 1) * 0.5**count <= 0.025:
        rank += 1
        below += math.comb(count, rank) * 0.5**count
    return ordered[rank], ordered[count - 1 - rank]
