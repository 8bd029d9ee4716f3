"""Shadows: a request's answer compared with that of a second version, after the answer is done.

Compared are whole greedy answers (temperature 0) and classifications, by their texts or labels; sampled answers differ
by chance, and streams are not kept, so neither is compared. One comparison runs at a time and only while no request
waits for the engine; what finds the queue full or the engine busy is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from prompts_store.records import VersionRecord
from server.api.inference.target import Target
from server.background_task import background_task
from server.engine.client import EngineClient
from server.soft_prompts.catalog import TaskCatalog
from server.telemetry.state_metrics import ShadowCounts

MAX_WAITING = 32
MAX_COUNTED = 1_000
TIMEOUT_S = 60.0

_log = logging.getLogger(__name__)
_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a shadow's version answered as its alias did, since this server's start."""

    num_compared: int = 0
    num_agreed: int = 0
    num_dropped: int = 0
    num_failed: int = 0


@dataclass(frozen=True, slots=True)
class _Comparison:
    key: _Key
    shadow: VersionRecord
    answers: tuple[str, ...]
    rerun: Callable[[Target], Awaitable[tuple[str, ...]]]


class ShadowRuns:
    """The comparisons that wait, and what came of those before. All methods belong to the event loop."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[_Comparison] = asyncio.Queue(MAX_WAITING)
        self._counts: OrderedDict[_Key, Agreement] = OrderedDict()

    def offer(
        self, target: Target, answers: tuple[str, ...], rerun: Callable[[Target], Awaitable[tuple[str, ...]]]
    ) -> None:
        """Compare an answer soon, if its alias has a shadow; `rerun` answers the same request by another target."""
        if target.record is None or target.alias is None or target.shadow is None:
            return
        if target.record.version == target.shadow.version:
            return
        key = (target.record.task, target.alias, target.shadow.version)
        try:
            self._waiting.put_nowait(_Comparison(key, target.shadow, answers, rerun))
        except asyncio.QueueFull:
            self._count(key, num_dropped=1)

    def agreement(self, task: str, alias: str, version: int) -> Agreement:
        """What came of comparing an alias with its shadow's version."""
        return self._counts.get((task, alias, version), Agreement())

    def by_task(self) -> dict[str, ShadowCounts]:
        """What came of all comparisons that are still remembered, by task."""
        sums: dict[str, ShadowCounts] = {}
        for (task, _, _), counts in self._counts.items():
            before = sums.get(task, ShadowCounts())
            sums[task] = ShadowCounts(
                num_agreed=before.num_agreed + counts.num_agreed,
                num_disagreed=before.num_disagreed + counts.num_compared - counts.num_agreed,
                num_dropped=before.num_dropped + counts.num_dropped,
                num_failed=before.num_failed + counts.num_failed,
            )
        return sums

    @asynccontextmanager
    async def running(self, engine: EngineClient, catalog: TaskCatalog) -> AsyncIterator[None]:
        """Work the comparisons off while the context is open."""
        async with background_task(self._work(engine, catalog), "shadow-runs"):
            yield

    async def _work(self, engine: EngineClient, catalog: TaskCatalog) -> None:
        while True:
            comparison = await self._waiting.get()
            if engine.stats.num_waiting:
                self._count(comparison.key, num_dropped=1)
                continue
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    prefixes = await catalog.prefixes(comparison.shadow)
                    found = await comparison.rerun(Target(comparison.shadow, prefixes))
            except Exception as error:  # whatever a second version cannot do must not end the comparisons of others
                _log.info("a shadow of task %s could not answer: %s", comparison.key[0], type(error).__name__)
                self._count(comparison.key, num_failed=1)
            else:
                self._count(comparison.key, num_compared=1, num_agreed=int(found == comparison.answers))

    def _count(self, key: _Key, **more: int) -> None:
        counts = self._counts.get(key, Agreement())
        self._counts[key] = replace(counts, **{name: getattr(counts, name) + number for name, number in more.items()})
        self._counts.move_to_end(key)
        while len(self._counts) > MAX_COUNTED:
            self._counts.popitem(last=False)
