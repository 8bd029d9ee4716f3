"""Which attention a device gets: the seam where kernels for other devices plug in."""

from __future__ import annotations

from typing import Protocol

import torch

from server.model.attention import AttentionContext
from server.model.cpu import attention as cpu_attention
from server.model.cpu.attention import CpuPagedAttention
from server.model.flat_batch import FlatBatch
from server.model.gpu.attention import TritonAttention, is_triton_available
from server.model.kv_cache import KVCache
from server.model.paged_attention import PagedAttention


class AttentionBackend(Protocol):
    """Makes the context of a step. All backends give the answers of `PagedAttention`, to rounding."""

    def __call__(self, kv_cache: KVCache, batch: FlatBatch) -> AttentionContext:
        """The context that stores this batch's keys and values and attends over the cache."""


def choose_backend(device: torch.device, *, exact: bool = False) -> AttentionBackend:
    """The fastest backend for the device, or (`exact`) that of plain PyTorch operations, which runs on every device."""
    if exact:
        return PagedAttention
    if device.type == "cuda" and is_triton_available():
        return TritonAttention
    if device.type == "cpu" and cpu_attention.is_built():
        return CpuPagedAttention
    return PagedAttention
