"""Threads for work that waits: each kind has a few of its own, so that one kind never waits for another's.

With all on asyncio's shared threads, six writes that wait for the database's lock would hold up every read, the
metrics and the revocation of keys. Who has which threads:

reads, writes         routes (`server.api.management.store_access`)
observation           `/metrics`
store-follower        the changes of the store
key-ring              the API keys, once a change names one
catalog               look-ups and loads of what requests name, and what changes have touched
tasks-folder          publication of the operator's folder
tuning-jobs           claims and take-overs of jobs, their files and their checkpoints
tuning-heartbeat      the beats of one job
batches               claims and take-overs of batches, their files and their results
batch-heartbeat       the beats of all batches

asyncio's shared threads are left to what comes one at a time. Each of these threads holds one connection to the
database at most: the store's pools are as large as all of them together.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from prompts_store.errors import StoreUnavailable

MAX_WAITING = 256
"""Calls that may wait for one kind of threads."""
MAX_WAIT_S = 30.0
"""How long each of them waits at most."""

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class ThreadsBusy(StoreUnavailable):
    """More calls wait for the store than it takes; they may be repeated."""

    code = "store_busy"


class Threads:
    """A bounded number of threads for one kind of work. Belongs to the event loop.

    They start with the first call, also with one after `close`.
    """

    def __init__(self, name: str, num_threads: int, *, max_wait_s: float = MAX_WAIT_S) -> None:
        self.num_threads = num_threads
        self.num_calls = 0
        """Calls that run or wait now."""
        self._name = name
        self._max_wait_s = max_wait_s
        self._free = asyncio.Semaphore(num_threads)
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[_P, _Result], *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        """The result of the work, done in a thread as soon as one is free. Raises `ThreadsBusy`, and what it raises.

        If the caller is cancelled, work that has begun goes on to its end.
        """
        if self.num_calls >= self.num_threads + MAX_WAITING:
            raise ThreadsBusy("Too many calls wait for the database.")
        self.num_calls += 1
        try:
            await self._wait_for_thread()
            try:
                call = partial(contextvars.copy_context().run, work, *args, **kwargs)
                return await asyncio.get_running_loop().run_in_executor(self._executor(), call)
            finally:
                self._free.release()
        finally:
            self.num_calls -= 1

    def close(self) -> None:
        """Let each thread end with what it does now, and begin nothing that waits. Waits for nothing itself."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_thread(self) -> None:
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise ThreadsBusy("The database does not answer the calls before this one.") from error

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix=self._name)
        return self._pool
