"""Shadows: comparison of a request's answer with that of a second version, after the answer is done.

Whole greedy answers (temperature 0) and classifications are compared, by their texts or labels. Sampled answers differ
by chance and streams are not kept, so neither is compared. One comparison runs at a time, and only while no request
waits for the engine. A comparison is dropped, and counted, if the queue is full or the engine is busy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from prompts_store.records import VersionRecord
from server.api.inference.served_model import ServedModel
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
    """Counts of a shadow's comparisons with its alias, since this server's start."""

    num_compared: int = 0
    num_agreed: int = 0
    num_dropped: int = 0
    num_failed: int = 0


@dataclass(frozen=True, slots=True)
class _Comparison:
    key: _Key
    shadow: VersionRecord
    answers: tuple[str, ...]
    rerun: Callable[[ServedModel], Awaitable[tuple[str, ...]]]


class ShadowRuns:
    """The waiting comparisons, and the counts of past ones. All methods belong to the event loop."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[_Comparison] = asyncio.Queue(MAX_WAITING)
        self._counts: OrderedDict[_Key, Agreement] = OrderedDict()

    def offer(
        self, served: ServedModel, answers: tuple[str, ...], rerun: Callable[[ServedModel], Awaitable[tuple[str, ...]]]
    ) -> None:
        """Queue a comparison if the alias has a shadow. `rerun` answers the same request with another served model."""
        if served.record is None or served.alias is None or served.shadow is None:
            return
        if served.record.version == served.shadow.version:
            return
        key = (served.record.task, served.alias, served.shadow.version)
        try:
            self._waiting.put_nowait(_Comparison(key, served.shadow, answers, rerun))
        except asyncio.QueueFull:
            self._count(key, num_dropped=1)

    def agreement(self, task: str, alias: str, version: int) -> Agreement:
        """The counts of an alias and its shadow's version."""
        return self._counts.get((task, alias, version), Agreement())

    def forget(self, tasks: Collection[str]) -> None:
        """Drop the counts of tasks that are gone."""
        for key in [key for key in self._counts if key[0] in tasks]:
            del self._counts[key]

    def by_task(self) -> dict[str, ShadowCounts]:
        """The counts of the latest `MAX_COUNTED` aliases and versions, summed by task."""
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
        """Run the comparisons while the context is open."""
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
                    parts = await catalog.parts(comparison.shadow)
                    found = await comparison.rerun(ServedModel(comparison.shadow, parts))
            except Exception as error:  # a failure of one shadow must not end the comparisons of others
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
