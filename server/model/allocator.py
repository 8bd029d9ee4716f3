"""Measure the heap, and return freed memory to the system: with glibc's allocator, and not at all with others."""

from __future__ import annotations

import asyncio
import ctypes
import platform
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache

from server.background_task import background_task

TRIM_INTERVAL_S = 60.0
_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HeapSize:
    """Bytes of the heap: in blocks that the process uses, and in freed blocks that it holds."""

    live: int
    free: int


def heap_size() -> HeapSize | None:
    """Of all threads, by `mallinfo2` (glibc 2.33, 2021). None where there is none.

    Python's small objects and memory-mapped files are not part of it.
    """
    library = _glibc()
    if library is None or not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _MallInfo
    found = library.mallinfo2()
    return HeapSize(live=found.uordblks + found.hblkhd, free=found.fordblks)


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of malloc.h. `hblkhd` is the memory of blocks that are mapped on their own."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


@cache
def map_large_blocks() -> bool:
    """Let glibc map every block of one MiB or more on its own, from now on in this process. False without glibc.

    By default glibc raises that bound to 32 MiB as blocks are freed. A backward pass keeps one tensor per layer and
    frees many between them, which fragments the heap. For a model of 135 million parameters, the heap grew by half of
    the weights; with the fixed bound, by a sixth (`benchmarks/tuning_memory.py`). With half a MiB the system spent a
    third of a step on new pages.
    """
    library = _glibc()
    return library is not None and bool(library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))


def trim_heap() -> bool:
    """Return the free pages between blocks in use to the system. False if there were none.

    oneDNN caches a kernel per step size. Blocks freed between those kernels fragment the heap, so it grew under mixed
    load although live memory did not (`docs/experiments.md`). A call takes tens of milliseconds, in which other threads
    may wait for memory.
    """
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def trimming_heap(interval_s: float = TRIM_INTERVAL_S) -> AbstractAsyncContextManager[object]:
    """Trim the heap every `interval_s` seconds, in a thread, while the context is open."""
    return background_task(_repeat(interval_s), "allocator")


async def _repeat(interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim_heap)


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
