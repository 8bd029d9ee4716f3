"""Estimate of a request's wait: a request that would be answered too late is refused at admission, not at its deadline.

By Little's law, a queue of L requests that are answered at a rate r takes L / r. The rate is the number of whole
answers divided by the time in which the engine was full. Time with a free engine does not count, because then the rate
is that of the clients. Abandoned requests do not count, because they leave faster than any server answers: counting
them would admit more requests that are abandoned too. Both sums decay with a time constant of 10 s, but the last two
answers are kept. So the rate falls while nothing is answered, and rare long answers still give a rate.

The estimate is a mean, and the rate can fall while a request waits. So it must fit with a margin. The margin grows with
the share of time that is lost to late requests, which end at their deadline: with a shorter queue, fewer are late.
Where the engine is too slow for as many as may run at once, even requests that need not wait are late. So if more than
a quarter of the time is lost, the engine counts as full with fewer: steps of fewer sequences are faster. Belongs to the
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
_MIN_MARGIN = 1.25  # without a margin, half of the requests admitted at the limit would be late
_MAX_MARGIN = 3.0
_MARGIN_GROWTH = 8.0  # growth of the margin with the share of time that is lost
_FREE_LOSS = 0.25  # share of time that may be lost before fewer requests run at once


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
    """Counts the requests in the engine, the rate at which it answers them, and what it computes for nothing.

    `max_wait_s` is the maximum wait of any request, whatever its own deadline. The engine is full if it runs
    `max_running` sequences, or fewer while much is late, or if requests wait for it.
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
        self._num_answers = 0.0  # decays exponentially, like the next three
        self._full_s = 0.0
        self._open_s = 0.0  # time of all requests in the full engine, summed
        self._lost_s = 0.0  # the part of it that late requests took
        self._full_since: float | None = None  # the time up to which `_full_s` counts, while the engine is full
        self._num_open_since = 0  # the requests in the engine from then on
        self._ever_full_s = 0.0

    def check(self, stats: EngineStats, timeout_s: float | None) -> None:
        """Raise `Overloaded` for a request that would wait too long, or whose answer would come after `timeout_s`."""
        self._is_queueing = stats.num_waiting > 0 or stats.num_running >= self._num_full
        self._update()
        if self._full_since is None:
            return
        # The engine counts sequences, and a request may have many: each label of a classification is one.
        num_waiting, num_running = min(stats.num_waiting, self._num_open), min(stats.num_running, self._num_open)
        # Count at least the running requests as answered: a new engine, or one with long answers, has few answers yet.
        interval_s = self._full_s / max(self._num_answers, num_running, 1)
        wait_s = max(num_waiting, self._num_open - num_running) * interval_s
        margin = min(_MIN_MARGIN + _MARGIN_GROWTH * self._lost_share, _MAX_MARGIN)
        answer_s = (self._num_open + 1) * interval_s * margin
        if wait_s > self._max_wait_s or (timeout_s is not None and answer_s > timeout_s):
            retry_after_s = max(1, math.ceil(wait_s))
            message = f"too many requests are waiting to answer this one in time; retry in {retry_after_s} s"
            raise Overloaded(message, retry_after_s=retry_after_s)

    def begin(self, deadline: float | None = None) -> OpenRequest:
        """Count a request that the engine has accepted. `deadline` is a time of the clock, in seconds."""
        self._num_open += 1
        self._update()
        return OpenRequest(partial(self._end, self._clock(), self._ever_full_s, deadline))

    @property
    def _lost_share(self) -> float:
        return min(self._lost_s / self._open_s, 1.0) if self._open_s > 0 else 0.0

    @property
    def _num_full(self) -> float:
        """The number of sequences with which the engine is full."""
        return max(self._max_running * min(1 + _FREE_LOSS - self._lost_share, 1.0), 1.0)

    def _end(self, began: float, ever_full_s: float, deadline: float | None, is_answered: bool) -> None:
        """Count an answer, weighted by the share of its time in which the engine was full; or what was lost by it."""
        self._num_open -= 1
        self._update()
        now = self._clock()
        own_full_s = self._ever_full_s - ever_full_s
        if is_answered and now > began:
            self._num_answers += own_full_s / (now - began)
        elif not is_answered and deadline is not None and now >= deadline:
            self._lost_s += own_full_s

    def _update(self) -> None:
        """Count the time in which the engine was full, and check whether it is full now.

        The engine's numbers are those of its latest step; only our own count includes requests since then.
        """
        now = self._clock()
        if self._full_since is not None:
            passed_s = now - self._full_since
            self._ever_full_s += passed_s
            kept, gained_s = math.exp(-passed_s / _MEMORY_S), passed_s
            if self._num_answers * kept >= _FEW:
                gained_s = (1 - kept) * _MEMORY_S
                self._num_answers *= kept
                self._full_s *= kept
                self._open_s *= kept
                self._lost_s *= kept
            self._full_s += gained_s
            self._open_s += gained_s * self._num_open_since
        is_full = self._num_open > 0 and (self._is_queueing or self._num_open >= self._num_full)
        self._full_since, self._num_open_since = now if is_full else None, self._num_open
