"""Ten times the load that fits, on an engine that is no more than a clock."""

from collections.abc import Callable
from dataclasses import dataclass

from server.api.access.overload import OpenRequest, OverloadGuard
from server.api.errors import Overloaded
from server.engine.client import EngineStats

NUM_SLOTS = 8
NUM_TOKENS = 64
ARRIVAL_S = 0.013


@dataclass(eq=False)
class _Asked:
    work: OpenRequest
    deadline: float
    num_left: int = NUM_TOKENS


@dataclass
class Flood:
    """A guard in front of an engine that runs `NUM_SLOTS` requests, which take `NUM_TOKENS` steps each.

    `step_s` gives the seconds of a step by its beginning and the number of its requests. Every request is given up at
    its deadline, `timeout_s` after it came.
    """

    step_s: Callable[[float, int], float]
    timeout_s: float
    now: float = 0.0
    num_answered: int = 0
    num_late: int = 0
    num_places: int = 0

    def __post_init__(self) -> None:
        self._guard = OverloadGuard(60.0, NUM_SLOTS, lambda: self.now)
        self._next_arrival = ARRIVAL_S
        self._open: list[_Asked] = []
        self._stats = EngineStats(0, 0, 0, 0, 0, 0, 0, 0, 0)

    @property
    def answered_share(self) -> float:
        """The part of the places in all steps that went to answers in time."""
        return self.num_answered * NUM_TOKENS / self.num_places

    def run(self, until_s: float) -> None:
        """Compute up to a time, while requests come. What is counted begins anew."""
        self.num_answered = self.num_late = self.num_places = 0
        while self.now < until_s:
            running = self._open[:NUM_SLOTS]
            until = self.now + self.step_s(self.now, len(running)) if running else self._next_arrival
            while self._next_arrival <= until:
                self.now = self._next_arrival
                self._arrive()
                self._next_arrival += ARRIVAL_S
            self.now = until
            self._end_step(running)

    def _arrive(self) -> None:
        try:
            self._guard.check(self._stats, self.timeout_s)
        except Overloaded:
            return
        deadline = self.now + self.timeout_s
        self._open.append(_Asked(self._guard.begin(deadline), deadline))

    def _end_step(self, running: list[_Asked]) -> None:
        self.num_places += NUM_SLOTS if running else 0
        for asked in running:
            asked.num_left -= 1
        for asked in list(self._open):
            if asked.deadline <= self.now:
                self._open.remove(asked)
                asked.work.given_up()
                self.num_late += 1
            elif not asked.num_left:
                self._open.remove(asked)
                asked.work.answered()
                self.num_answered += 1
        num_running = min(len(self._open), NUM_SLOTS)
        self._stats = EngineStats(len(self._open) - num_running, num_running, 0, 0, 0, 0, 0, 0, 0)
