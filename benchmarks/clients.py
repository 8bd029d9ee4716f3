"""Clients that send requests: all at once, or each waiting for its answer before it sends the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

_Answer = TypeVar("_Answer")


async def in_turn(jobs: Sequence[Callable[[], Awaitable[_Answer]]], num_clients: int | None) -> list[_Answer]:
    """Run jobs, at most `num_clients` at a time (None: all); answers come in the jobs' order."""
    turns = asyncio.Semaphore(num_clients or max(1, len(jobs)))

    async def run(job: Callable[[], Awaitable[_Answer]]) -> _Answer:
        async with turns:
            return await job()

    return list(await asyncio.gather(*(run(job) for job in jobs)))


async def sleep_until(moment: float) -> None:
    """Sleep until `time.perf_counter()` says so; return at once if it does already."""
    if (left := moment - time.perf_counter()) > 0:
        await asyncio.sleep(left)
