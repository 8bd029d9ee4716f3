"""Whether there is any point in waiting: a request that would come too late is refused at the door, not in the end.

By Little's law a queue of L requests that are answered at a rate r takes L / r. The rate is measured while requests
wait for the engine, since an idle server's rate is that of its clients. Belongs to the event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from server.api.errors import Overloaded
from server.engine.client import EngineStats

_WEIGHT = 0.1  # of the latest interval between two answers, in their moving average


@dataclass(eq=False)
class Work:
    """A request in the engine. It ends once, however often it is told."""

    end_once: Callable[[], None] | None

    def end(self) -> None:
        """The request is answered or given up."""
        if self.end_once is not None:
            self.end_once()
        self.end_once = None


class Admission:
    """Counts the requests in the engine and how fast they leave it.

    `max_wait_s` is how long any request may have to wait for its turn, whatever time its caller has.
    """

    def __init__(self, max_wait_s: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._num_open = 0
        self._interval_s: float | None = None
        self._last_end: float | None = None
        self._is_saturated = False

    def check(self, stats: EngineStats, timeout_s: float | None) -> None:
        """Raise `Overloaded` for a request that would wait too long, or whose answer would come after `timeout_s`."""
        num_waiting = max(stats.num_waiting, self._num_open - stats.num_running)
        was_saturated, self._is_saturated = self._is_saturated, stats.num_waiting > 0
        if not was_saturated:
            self._last_end = None  # since then the engine may have had nothing to do
        if not self._is_saturated or self._interval_s is None:
            return
        wait_s = num_waiting * self._interval_s
        answer_s = (self._num_open + 1) * self._interval_s
        if wait_s > self._max_wait_s or (timeout_s is not None and answer_s > timeout_s):
            retry_after_s = max(1, math.ceil(wait_s))
            raise Overloaded("too many requests wait for this one to be answered in time", retry_after_s=retry_after_s)

    def begin(self) -> Work:
        """A request is handed to the engine."""
        self._num_open += 1
        return Work(self._end)

    def _end(self) -> None:
        self._num_open -= 1
        now = self._clock()
        if self._is_saturated and self._last_end is not None:
            interval_s = now - self._last_end
            old = self._interval_s
            self._interval_s = interval_s if old is None else old + _WEIGHT * (interval_s - old)
        self._last_end = now
