"""The time budget of background work: one bounded piece at a time, between steps, within a share of the time.

All computing on the engine's device happens on the engine's thread. The engine decides only when the next piece may
run; its sender decides what it does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackgroundShare:
    """The share of the thread's time that pieces get while requests run, and while more requests queue.

    With nothing to serve, pieces run one after another.
    """

    while_running: float = 0.15
    while_queueing: float = 0.05

    def __post_init__(self) -> None:
        """Raise ValueError for a share of 0, with which no job would end, and of 1, with which no request would."""
        if not 0 < self.while_queueing <= self.while_running < 1:
            raise ValueError("shares are above 0 and below 1, the one while requests queue not above the other")


class BackgroundBudget:
    """Time budget of background work: a piece runs up a debt, and serving pays it off.

    A piece may start when nothing is owed, so that even one far longer than a step gets its turn. Unused time is not
    saved.
    """

    def __init__(self, share: BackgroundShare) -> None:
        self._share = share
        self._debt_s = 0.0

    @property
    def is_free(self) -> bool:
        """Whether a piece may run now."""
        return self._debt_s <= 0

    def earn(self, step_s: float, *, is_queueing: bool) -> None:
        """Note the time of a step."""
        share = self._share.while_queueing if is_queueing else self._share.while_running
        self._debt_s = max(0.0, self._debt_s - step_s * share / (1 - share))

    def spend(self, piece_s: float) -> None:
        """Note the time of a piece that ran while requests did."""
        self._debt_s += piece_s

    def forgive(self) -> None:
        """Cancel the debt: there is nothing to serve."""
        self._debt_s = 0.0
