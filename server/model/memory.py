"""Memory of a device: what is left of it, and the size of the KV cache."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from server.model.base_model import LoadedModel
from server.model.errors import OutOfDeviceMemory
from server.model.kv_cache import KVCache

_GIB = 1024**3
# The share of a GPU's memory that is free beside the largest step's activations: the rest is for recorded steps and
# fragments. The share of a CPU machine's available memory.
_CUDA_SHARE = 0.92
_CPU_SHARE = 0.25
_CPU_MOST_BYTES = 4 * _GIB


@dataclass(frozen=True, slots=True)
class CacheSize:
    """The configured size: a number of blocks, or GiB, or neither (then memory decides)."""

    block_size: int
    num_blocks: int | None = None
    gib: float | None = None


def choose_num_blocks(loaded: LoadedModel, size: CacheSize, activation_bytes: int = 0) -> int:
    """Blocks of the KV cache, the padding block included. `activation_bytes` of a GPU's memory are left to the steps.

    Raises `OutOfDeviceMemory` where not even one sequence of the full context and a prefix would fit by default.
    """
    if size.num_blocks is not None:
        return size.num_blocks + 1
    per_block = KVCache.bytes_per_block(loaded.architecture.layers, size.block_size, loaded.dtype)
    num_bytes = _free_bytes(loaded.device, activation_bytes) if size.gib is None else int(size.gib * _GIB)
    num_blocks = num_bytes // per_block
    context = -(-loaded.architecture.max_context // size.block_size)
    if num_blocks < min(context, 64):
        raise OutOfDeviceMemory(
            f"the KV cache would have {num_blocks} blocks of {size.block_size} tokens: give it more memory, or name a "
            "number with --num-kv-blocks"
        )
    return num_blocks + 1


def available_bytes(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int:
    """Main memory that this process may still take: the rest of the machine's, or of its container's.

    Memory that only caches files counts as left. `group` is a control group of version 2; without one, or on a system
    that has neither, the free pages count.
    """
    left = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, KeyError):
        left = _numbers(meminfo)["MemAvailable:"] * 1024
    with suppress(OSError, KeyError, ValueError):
        used = int((group / "memory.current").read_text()) - _numbers(group / "memory.stat")["inactive_file"]
        left = min(left, max(0, int((group / "memory.max").read_text()) - used))  # "max" is no number: no limit
    return left


def unused_bytes(device: torch.device) -> int:
    """Bytes of this device that this process may still take. What PyTorch keeps for later tensors is among them."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return available_bytes()


def cpu_cache_bytes() -> int:
    """Bytes that a KV cache takes of a CPU machine's available memory where nobody says otherwise."""
    return min(int(available_bytes() * _CPU_SHARE), _CPU_MOST_BYTES)


def _numbers(file: Path) -> dict[str, int]:
    return {words[0]: int(words[1]) for line in file.read_text().splitlines() if len(words := line.split()) > 1}


def _free_bytes(device: torch.device, activation_bytes: int) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(0, int((free - activation_bytes) * _CUDA_SHARE))
    return cpu_cache_bytes()
