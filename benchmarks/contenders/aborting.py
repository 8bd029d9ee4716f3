"""This engine with clients that go away: each stream is dropped after a few tokens, one after the other."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from benchmarks.contender import Run
from benchmarks.contenders.engine import EngineContender
from benchmarks.workload import Workload
from server.engine.events import TokenEvent

_NUM_TOKENS_FIRST = 4
_GIVE_UP_S = 60


class AbortingContender(EngineContender):
    """Counts steps from dropping a stream to its blocks being free."""

    def run(self, workload: Workload) -> Run:
        """See `Contender`. The last stream runs to its end, so that there is always a next step."""
        return self.loop.run(self._drop_each(workload))

    async def _drop_each(self, workload: Workload) -> Run:
        prefixes = self.prefixes(workload)
        began = time.perf_counter()
        streams = [self.stream(request, prefixes) for request in workload.requests]
        *leaving, staying = streams
        most = 0
        for stream in leaving:
            num_tokens = 0
            async for event in stream:
                num_tokens += isinstance(event, TokenEvent)
                if num_tokens == _NUM_TOKENS_FIRST:
                    break
            running = self.engine.stats.num_running
            step = self.engine.stats.num_steps
            await cast(Any, stream).aclose()  # the contract promises it; the iterator protocol does not name it
            while self.engine.stats.num_running >= running and time.perf_counter() - began < _GIVE_UP_S:
                await asyncio.sleep(0.0005)
            most = max(most, self.engine.stats.num_steps - step)
        async for _ in staying:
            pass
        counts = {"most_steps": most, "aborted": len(leaving)}
        return Run(time.perf_counter() - began, (), counts)
