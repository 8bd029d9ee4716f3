"""Work of low priority on the engine's thread: one bounded piece at a time, between steps, within a share of the time.

Whoever computes on the engine's device must do it on the engine's thread. What the pieces are is their sender's
business; the engine only decides when the next one may run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class PieceRunner(Protocol):
    """Runs pieces of background work for somebody on the event loop."""

    async def between_steps(self, piece: Callable[[], T]) -> T:
        """Run one bounded piece on the engine's thread when its turn comes; answer with what it returns.

        What it raises is raised here. A caller that is cancelled leaves a piece that has begun to end on its own.
        Raises `EngineStopped`.
        """


@dataclass(frozen=True, slots=True)
class BackgroundShare:
    """The share of the thread's time that pieces get while requests run, and while others queue behind those.

    With nothing to serve, pieces run one after another.
    """

    while_running: float = 0.15
    while_queueing: float = 0.05

    def __post_init__(self) -> None:
        """Raise ValueError: a share of 0 would never let a job end, one of 1 never a request."""
        if not 0 < self.while_queueing <= self.while_running < 1:
            raise ValueError("shares are above 0 and below 1, the one while requests queue not above the other")


class BackgroundBudget:
    """Which piece may run when: serving earns credit with the time it takes, a piece spends it.

    A piece runs when there is no debt, so that even one far longer than a step gets its turn; time never saves up.
    """

    def __init__(self, share: BackgroundShare) -> None:
        self._share = share
        self._debt_s = 0.0

    @property
    def is_free(self) -> bool:
        """Whether a piece may run now, though requests run."""
        return self._debt_s <= 0

    def earn(self, step_s: float, *, is_queueing: bool) -> None:
        """Note the time of a step."""
        share = self._share.while_queueing if is_queueing else self._share.while_running
        self._debt_s = max(0.0, self._debt_s - step_s * share / (1 - share))

    def spend(self, piece_s: float) -> None:
        """Note the time of a piece that ran while requests did."""
        self._debt_s += piece_s

    def forgive(self) -> None:
        """There is nothing to serve: what was borrowed is paid."""
        self._debt_s = 0.0
