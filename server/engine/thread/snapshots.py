"""The snapshots of an engine for other threads."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.engine.thread.step_engine import StepEngine

_USAGE_INTERVAL_S = 0.25


class Snapshots:
    """The latest snapshots of an engine. Its thread renews them, and any thread reads them.

    Counts are renewed after every step. The usage costs a walk over all sequences and resident prefixes: it is renewed
    every 250 ms, and when the engine becomes idle.
    """

    def __init__(self, engine: StepEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._take_usage()

    def renew(self) -> None:
        """Take the snapshots that are due. Only the engine thread calls this."""
        self.stats = self._engine.stats
        is_idle = not self._engine.has_work
        if self._clock() >= self._due_at or (is_idle and self.stats != self._stats_of_usage):
            self._take_usage()

    def _take_usage(self) -> None:
        self.stats = self._stats_of_usage = self._engine.stats
        self.usage = self._engine.read_usage()
        self._due_at = self._clock() + _USAGE_INTERVAL_S
