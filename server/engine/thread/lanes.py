"""The two lanes of an engine: live requests, and batch requests, which get a share of the time beside them.

A step computes requests of one lane. While live requests are open, batch steps take at most `share` of the time: a
batch step runs up a debt, as a piece of background work does (`background.py`), and live steps pay it off. So a live
request waits for one batch step at most before its own next step. With a share of 0, no batch step runs beside a live
request; without live requests, every step is a batch step.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class LaneTurns:
    """Says which lane the next step computes. `share` is at least 0 and below 1; `clock` counts seconds."""

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """Raise ValueError for a share that is negative, or 1 and more, with which no live request would end."""
        if not 0 <= share < 1:
            raise ValueError("the share of batch requests is at least 0 and below 1")
        self._share = share
        self._clock = clock
        self._began = 0.0
        self._debt_s = 0.0
        self._is_batch = False
        self._has_live = False

    def begin(self, *, has_live: bool, has_batch: bool) -> bool:
        """Begin a step, and return whether it is one of the batch lane."""
        self._has_live = has_live
        self._is_batch = has_batch and (not has_live or (self._share > 0 and self._debt_s <= 0))
        self._began = self._clock()
        return self._is_batch

    def end(self) -> None:
        """Note the time of the step that has ended.

        Without a live request only the latest batch step is owed: one that arrives during it waits for no second.
        """
        step_s = self._clock() - self._began
        if self._is_batch:
            self._debt_s = step_s + (self._debt_s if self._has_live else 0.0)
        else:
            self._debt_s = max(0.0, self._debt_s - step_s * self._share / (1 - self._share))
