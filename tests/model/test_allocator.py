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
def test_holes_between_blocks_in_use_go_back_to_the_system(holes):
    before = resident_bytes()
    assert allocator.give_holes_back()
    assert before - resident_bytes() > NUM_BLOCKS * BLOCK_BYTES * 0.8


@glibc_only
async def test_they_go_back_again_and_again_while_a_server_runs(holes):
    before = resident_bytes()
    async with allocator.giving_holes_back(interval_s=0.01):
        while before - resident_bytes() < NUM_BLOCKS * BLOCK_BYTES * 0.8:
            await asyncio.sleep(0.01)


@glibc_only
def test_a_large_block_is_mapped_on_its_own():
    assert allocator.give_large_blocks_back()


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    allocator.give_large_blocks_back.cache_clear()
    try:
        assert not allocator.give_large_blocks_back()
        assert not allocator.give_holes_back()
    finally:
        allocator.give_large_blocks_back.cache_clear()
