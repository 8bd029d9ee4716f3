"""Whether there is any point in waiting: a request that would come too late is refused at the door, not in the end.

By Little's law a queue of L requests that are answered at a rate r takes L / r. The rate is that of whole answers over
the time in which requests wait for the engine: an idle server's rate is that of its clients, and requests that are
given up leave faster than any server answers, so that counting them would let in more and more of what is given up too.
Both are forgotten exponentially, so the rate falls while nothing is answered. Belongs to the event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from server.api.errors import Overloaded
from server.engine.client import EngineStats

_MEMORY_S = 10.0  # after so long an answer counts for 1 / e


@dataclass(eq=False)
class Work:
    """A request in the engine. It ends once, whatever it is told after that."""

    end_once: Callable[[bool], None] | None

    def answered(self) -> None:
        """The engine has computed the whole answer."""
        self._end(True)

    def given_up(self) -> None:
        """Nobody waits for the rest any more, or it has failed."""
        self._end(False)

    def _end(self, is_answered: bool) -> None:
        if self.end_once is not None:
            self.end_once(is_answered)
        self.end_once = None


class Admission:
    """Counts the requests in the engine and how fast they leave it.

    `max_wait_s` is how long any request may have to wait for its turn, whatever time its caller has.
    """

    def __init__(self, max_wait_s: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._num_open = 0
        self._num_answers = 0.0
        self._busy_s = 0.0
        self._busy_since: float | None = None  # up to where `_busy_s` counts, while requests wait

    def check(self, stats: EngineStats, timeout_s: float | None) -> None:
        """Raise `Overloaded` for a request that would wait too long, or whose answer would come after `timeout_s`."""
        now = self._clock()
        self._count_until(now)
        self._busy_since = now if stats.num_waiting else None
        if self._busy_since is None or not self._num_answers:
            return
        interval_s = self._busy_s / self._num_answers
        wait_s = max(stats.num_waiting, self._num_open - stats.num_running) * interval_s
        answer_s = (self._num_open + 1) * interval_s
        if wait_s > self._max_wait_s or (timeout_s is not None and answer_s > timeout_s):
            retry_after_s = max(1, math.ceil(wait_s))
            raise Overloaded("too many requests wait for this one to be answered in time", retry_after_s=retry_after_s)

    def begin(self) -> Work:
        """A request is handed to the engine."""
        self._num_open += 1
        return Work(self._end)

    def _end(self, is_answered: bool) -> None:
        self._num_open -= 1
        if self._busy_since is not None:
            self._count_until(self._clock())
            self._num_answers += is_answered

    def _count_until(self, now: float) -> None:
        if self._busy_since is None:
            return
        kept = math.exp((self._busy_since - now) / _MEMORY_S)
        self._num_answers *= kept
        self._busy_s = self._busy_s * kept + (1 - kept) * _MEMORY_S
        self._busy_since = now
