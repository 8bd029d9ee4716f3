"""Whether there is any point in waiting: a request that would come too late is refused at admission, not at its end.

By Little's law a queue of L requests that are answered at a rate r takes L / r. The rate is that of whole answers over
the time in which the engine is full: an idle server's rate is that of its clients, and requests that are given up leave
faster than any server answers, so that counting them would let in more and more of what is given up too.
Both are forgotten exponentially, but for a few answers, so the rate falls while nothing is answered, and where answers
are long and rare it is that of the latest. Belongs to the event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from server.api.errors import Overloaded
from server.engine.client import EngineStats

_MEMORY_S = 10.0  # after so long an answer counts for 1 / e
_FEW = 2.0  # answers that are not forgotten
_MARGIN = 1.25  # the estimate is a mean, so without it half of those let in at the edge would come too late


@dataclass(eq=False)
class OpenRequest:
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


class OverloadGuard:
    """Counts the requests in the engine and how fast they leave it.

    `max_wait_s` is how long any request may have to wait for its turn, whatever time its caller has. The engine is full
    with `max_running` sequences, or where requests wait for it.
    """

    def __init__(
        self,
        max_wait_s: float = math.inf,
        max_running: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_wait_s = max_wait_s
        self._max_running = max_running
        self._clock = clock
        self._num_open = 0
        self._is_queueing = False
        self._num_answers = 0.0  # forgotten exponentially, as is:
        self._full_s = 0.0
        self._full_since: float | None = None  # up to where `_full_s` counts, while the engine is full
        self._ever_full_s = 0.0

    def check(self, stats: EngineStats, timeout_s: float | None) -> None:
        """Raise `Overloaded` for a request that would wait too long, or whose answer would come after `timeout_s`."""
        self._is_queueing = stats.num_waiting > 0 or stats.num_running >= self._max_running
        self._update()
        if self._full_since is None:
            return
        # The engine counts sequences, of which a request may have many: each label of a classification is one.
        num_waiting, num_running = min(stats.num_waiting, self._num_open), min(stats.num_running, self._num_open)
        # At least as if all that run were answered now: an engine's first answers, or those of long runs, are to come.
        interval_s = self._full_s / max(self._num_answers, num_running, 1)
        wait_s = max(num_waiting, self._num_open - num_running) * interval_s
        answer_s = (self._num_open + 1) * interval_s * _MARGIN
        if wait_s > self._max_wait_s or (timeout_s is not None and answer_s > timeout_s):
            retry_after_s = max(1, math.ceil(wait_s))
            raise Overloaded("too many requests wait for this one to be answered in time", retry_after_s=retry_after_s)

    def begin(self) -> OpenRequest:
        """A request is handed to the engine."""
        self._num_open += 1
        self._update()
        return OpenRequest(partial(self._end, self._clock(), self._ever_full_s))

    def _end(self, began: float, ever_full_s: float, is_answered: bool) -> None:
        """An answer counts by the share of its time in which the engine was full."""
        self._num_open -= 1
        self._update()
        duration_s = self._clock() - began
        if is_answered and duration_s > 0:
            self._num_answers += (self._ever_full_s - ever_full_s) / duration_s

    def _update(self) -> None:
        """Count the time in which the engine was full, and see whether it is now.

        What the engine says is of its latest step; who came since is only in our own count.
        """
        now = self._clock()
        if self._full_since is not None:
            passed_s = now - self._full_since
            self._ever_full_s += passed_s
            kept = math.exp(-passed_s / _MEMORY_S)
            if self._num_answers * kept >= _FEW:
                self._num_answers *= kept
                self._full_s = self._full_s * kept + (1 - kept) * _MEMORY_S
            else:
                self._full_s += passed_s
        is_full = self._num_open > 0 and (self._is_queueing or self._num_open >= self._max_running)
        self._full_since = now if is_full else None
