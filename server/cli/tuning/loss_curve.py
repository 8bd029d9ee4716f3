"""The losses of a run as one line of text."""

from __future__ import annotations

import itertools

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = ".:-=+*#@"
_MAX_MEANS = 1024


class LossCurve:
    """Losses of all steps so far. It keeps means over equal numbers of steps, so that its memory is bounded."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self._means: list[float] = []
        self._per_mean = 1
        self._rest: list[float] = []

    def add(self, loss: float) -> None:
        """Take the loss of the next step."""
        self.first = loss if self.first is None else self.first
        self.last = loss
        self._rest.append(loss)
        if len(self._rest) == self._per_mean:
            self._means.append(_mean(self._rest))
            self._rest.clear()
        if len(self._means) == _MAX_MEANS:
            self._means = [_mean(self._means[at : at + 2]) for at in range(0, _MAX_MEANS, 2)]
            self._per_mean *= 2

    def sparkline(self, width: int, *, ascii_only: bool) -> str:
        """Return at most `width` characters, from the lowest loss to the highest."""
        values = self._means + ([_mean(self._rest)] if self._rest else [])
        if len(values) > width:
            ends = [at * len(values) // width for at in range(width + 1)]
            values = [_mean(values[begin:end]) for begin, end in itertools.pairwise(ends)]
        levels = _ASCII if ascii_only else _BLOCKS
        low, high = min(values, default=0.0), max(values, default=0.0)
        scale = (len(levels) - 1) / (high - low) if high > low else 0.0
        return "".join(levels[round((value - low) * scale)] for value in values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
