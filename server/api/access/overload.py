"""Estimate of a request's wait: a request that would be answered too late is refused at admission, not at its deadline.

By Little's law, a queue of L requests that are answered at a rate r takes L / r. The rate is the number of whole
answers divided by the time in which the engine was full. Time with a free engine does not count, because then the rate
is that of the clients. Abandoned requests do not count, because they leave faster than any server answers: counting
them would admit more requests that are abandoned too. Both sums decay with a time constant of 10 s, but the last two
answers are kept. So the rate falls while nothing is answered, and rare long answers still give a rate. Belongs to the
event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from server.api.errors import Overloaded
from server.engine.client import EngineStats

_MEMORY_S = 10.0  # time constant of the decay
_FEW = 2.0  # minimum number of answers, below which nothing decays
_MARGIN = 1.25  # the estimate is a mean: without a margin, half of the requests admitted at the limit would be late


@dataclass(eq=False)
class OpenRequest:
    """A request in the engine. It ends once; later calls have no effect."""

    end_once: Callable[[bool], None] | None

    def answered(self) -> None:
        """The engine has computed the whole answer."""
        self._end(True)

    def given_up(self) -> None:
        """The client has left, the deadline is over, or the request has failed."""
        self._end(False)

    def _end(self, is_answered: bool) -> None:
        if self.end_once is not None:
            self.end_once(is_answered)
        self.end_once = None


class OverloadGuard:
    """Counts the requests in the engine and the rate at which it answers them.

    `max_wait_s` is the maximum wait of any request, whatever its own deadline. The engine is full if it runs
    `max_running` sequences or if requests wait for it.
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
        self._num_answers = 0.0  # decays exponentially, like `_full_s`
        self._full_s = 0.0
        self._full_since: float | None = None  # the time up to which `_full_s` counts, while the engine is full
        self._ever_full_s = 0.0

    def check(self, stats: EngineStats, timeout_s: float | None) -> None:
        """Raise `Overloaded` for a request that would wait too long, or whose answer would come after `timeout_s`."""
        self._is_queueing = stats.num_waiting > 0 or stats.num_running >= self._max_running
        self._update()
        if self._full_since is None:
            return
        # The engine counts sequences, and a request may have many: each label of a classification is one.
        num_waiting, num_running = min(stats.num_waiting, self._num_open), min(stats.num_running, self._num_open)
        # Count at least the running requests as answered: a new engine, or one with long answers, has few answers yet.
        interval_s = self._full_s / max(self._num_answers, num_running, 1)
        wait_s = max(num_waiting, self._num_open - num_running) * interval_s
        answer_s = (self._num_open + 1) * interval_s * _MARGIN
        if wait_s > self._max_wait_s or (timeout_s is not None and answer_s > timeout_s):
            retry_after_s = max(1, math.ceil(wait_s))
            message = f"too many requests are waiting to answer this one in time; retry in {retry_after_s} s"
            raise Overloaded(message, retry_after_s=retry_after_s)

    def begin(self) -> OpenRequest:
        """Count a request that the engine has accepted."""
        self._num_open += 1
        self._update()
        return OpenRequest(partial(self._end, self._clock(), self._ever_full_s))

    def _end(self, began: float, ever_full_s: float, is_answered: bool) -> None:
        """Count an answer, weighted by the share of its time in which the engine was full."""
        self._num_open -= 1
        self._update()
        duration_s = self._clock() - began
        if is_answered and duration_s > 0:
            self._num_answers += (self._ever_full_s - ever_full_s) / duration_s

    def _update(self) -> None:
        """Count the time in which the engine was full, and check whether it is full now.

        The engine's numbers are those of its latest step; only our own count includes requests since then.
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
