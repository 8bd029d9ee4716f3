"""Drops the resident pages of weights that a mapped file holds and nothing reads any more.

transformers maps a safetensors file into memory. A packed weight is a copy. The pages of its original stay resident for
as long as one other weight, mostly the embeddings, keeps the mapping.
"""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

import torch

_MADV_DONTNEED = getattr(mmap, "MADV_DONTNEED", None)


class MappedFiles:
    """The private mappings of files in this process, as they are now. There are none away from Linux."""

    def __init__(self, maps: Path = Path("/proc/self/maps")) -> None:
        self._ranges: list[tuple[int, int]] = []
        if _MADV_DONTNEED is not None:
            with suppress(OSError):
                self._ranges = sorted(filter(None, map(_file_range, maps.read_text().splitlines())))

    def drop(self, weight: torch.Tensor) -> int:
        """Drop the whole pages of a dense weight inside one of the mappings. Returns their bytes.

        Whoever reads the weight again reads the file.
        """
        first, last = weight.data_ptr(), weight.data_ptr() + weight.nbytes
        index = bisect_right(self._ranges, (first, last)) - 1
        if index < 0 or last > self._ranges[index][1]:
            return 0
        first, last = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE
        if last <= first:
            return 0
        failed = ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_DONTNEED)
        return 0 if failed else last - first


def _file_range(line: str) -> tuple[int, int] | None:
    """Addresses of a line of `/proc/self/maps`, if it is a private mapping of a file."""
    addresses, permissions, _, _, inode, *_ = line.split()
    if not permissions.endswith("p") or inode == "0":
        return None
    first, last = addresses.split("-")
    return int(first, 16), int(last, 16)
