"""Memory that is freed goes back to the system, rather than staying as holes between what is kept."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 512 * 1024


@cache
def give_large_blocks_back() -> bool:
    """Let glibc map every block of half a MiB or more on its own, in this process from now on; False elsewhere.

    By default glibc raises that bound to 32 MiB as blocks are freed. A backward pass keeps one tensor a layer and frees
    many between them: the heap then grew by half of the weights of a 135 million parameter model, with the bound by a
    sixth (`benchmarks/tuning_memory.py`).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))
