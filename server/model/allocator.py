"""Memory that is freed goes back to the system, rather than staying as holes between what is kept.

Of the C library's allocator where that is glibc's; elsewhere nothing is done.
"""

from __future__ import annotations

import asyncio
import ctypes
import platform
from contextlib import AbstractAsyncContextManager
from functools import cache

from server.background_task import background_task

HOLES_INTERVAL_S = 60.0
_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 512 * 1024


@cache
def give_large_blocks_back() -> bool:
    """Let glibc map every block of half a MiB or more on its own, in this process from now on; False elsewhere.

    By default glibc raises that bound to 32 MiB as blocks are freed. A backward pass keeps one tensor a layer and frees
    many between them: the heap then grew by half of the weights of a 135 million parameter model, with the bound by a
    sixth (`benchmarks/tuning_memory.py`).
    """
    library = _glibc()
    return library is not None and bool(library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))


def give_holes_back() -> bool:
    """Give whole pages between blocks in use back to the system. False where there were none.

    Steps of ever other sizes leave them, between the kernels that are kept for each size: without this the heap of an
    engine under mixed load grew, though what was in use in it did not (`docs/experiments.md`). Takes some tens of
    milliseconds, in which other threads may wait for memory.
    """
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def giving_holes_back(interval_s: float = HOLES_INTERVAL_S) -> AbstractAsyncContextManager[object]:
    """Do it again and again, in a thread, while the context is open."""
    return background_task(_give_holes_back_on_and_on(interval_s), "allocator")


async def _give_holes_back_on_and_on(interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(give_holes_back)


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
