"""Work that ends with a context, and work that no cancellation interrupts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` as a task while the context is open, then cancel it and wait for its end.

    A failure of the work is logged when it happens; the context stays open.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    try:
        yield task
    finally:
        task.cancel()
        # Cancelled itself, `gather` waits all the same, then raises. Awaiting the task would hide that cancellation.
        await asyncio.gather(task, return_exceptions=True)


async def uninterrupted(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await `work`; a cancellation is raised once it has ended. So nothing that a thread reads is closed under it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the background task %s has failed", task.get_name(), exc_info=error)
