"""Freed memory leaves the process; pages and sizes by `/proc`, so on Linux only."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
from pathlib import Path

import pytest

from server.model import allocator

BLOCK_BYTES = 16 * 1024
NUM_BLOCKS = 4_000

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def holes():
    """62 MiB of freed blocks, with one in sixteen still in use between them."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [library.malloc(BLOCK_BYTES) for _ in range(NUM_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    kept = blocks[::16]
    for block in set(blocks) - set(kept):
        library.free(block)
    yield
    for block in kept:
        library.free(block)


@glibc_only
def test_trimming_returns_the_pages_between_blocks_in_use(holes):
    """Of the freed blocks, most of the memory leaves the process at once."""
    before = resident_bytes()
    assert allocator.trim_heap()
    assert before - resident_bytes() > NUM_BLOCKS * BLOCK_BYTES * 0.8


@glibc_only
async def test_the_heap_is_trimmed_while_the_context_is_open(holes):
    """Nobody has to call for it."""
    before = resident_bytes()
    async with asyncio.timeout(20), allocator.trimming_heap(interval_s=0.01):
        while before - resident_bytes() < NUM_BLOCKS * BLOCK_BYTES * 0.8:
            await asyncio.sleep(0.01)


@glibc_only
def test_a_large_block_is_mapped_on_its_own():
    assert allocator.map_large_blocks()


@glibc_only
def test_the_heap_tells_what_is_live_and_what_is_free(holes):
    """A live block of 8 MiB counts until it is freed; the freed blocks between those in use are free."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = allocator.heap_size()
    block = library.malloc(8 << 20)
    during = allocator.heap_size()
    library.free(block)
    assert during.live - before.live >= 8 << 20
    assert before.free > NUM_BLOCKS * BLOCK_BYTES * 0.8


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    allocator.map_large_blocks.cache_clear()
    try:
        assert not allocator.map_large_blocks()
        assert not allocator.trim_heap()
        assert allocator.heap_size() is None
    finally:
        allocator.map_large_blocks.cache_clear()
