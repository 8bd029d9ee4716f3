"""Virtual token counters, one per task: the task with the lowest counter is served next.

A task's counter grows by the tokens that it was served (VTC: Sheng et al., "Fairness in Serving Large Language Models",
OSDI 2024). A task that returns from idle starts at the lowest counter of the busy ones: idling earns no credit.
"""

from __future__ import annotations

from collections.abc import Mapping


class TokenCounters:
    """Counters of the tasks, in tokens. Only the engine thread calls this."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._num_open: dict[str, int] = {}
        self.total = 0  # tokens served to all tasks so far

    @property
    def num_open(self) -> Mapping[str, int]:
        """Open sequences of each busy task."""
        return self._num_open

    @property
    def num_busy(self) -> int:
        """Tasks with at least one open sequence."""
        return len(self._num_open)

    def served(self, task: str) -> int:
        """The task's counter, in tokens."""
        return self._served[task]

    def open(self, task: str) -> None:
        """A sequence of the task arrives."""
        if task not in self._num_open:
            lowest = min((self._served[busy] for busy in self._num_open), default=0)
            self._served[task] = max(self._served.get(task, 0), lowest)
        self._num_open[task] = self._num_open.get(task, 0) + 1

    def close(self, task: str) -> None:
        """A sequence of the task has ended."""
        self._num_open[task] -= 1
        if self._num_open[task] == 0:
            del self._num_open[task]
            self._forget_idle()

    def charge(self, task: str, num_tokens: int) -> None:
        """Add tokens that the task was served."""
        self._served[task] += num_tokens
        self.total += num_tokens

    def _forget_idle(self) -> None:
        """Drop counters without effect: those of idle tasks at or below every busy one."""
        if not self._num_open:
            self._served.clear()
        elif len(self._served) > 2 * len(self._num_open) + 64:
            lowest = min(self._served[busy] for busy in self._num_open)
            self._served = {t: n for t, n in self._served.items() if n > lowest or t in self._num_open}
