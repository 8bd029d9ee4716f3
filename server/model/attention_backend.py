"""Which attention a device gets: the seam where kernels for other devices plug in."""

from __future__ import annotations

from typing import Protocol

import torch

from server.model import cpu_attention
from server.model.attention import AttentionContext
from server.model.cpu_attention import CpuPagedAttention
from server.model.flat_batch import FlatBatch
from server.model.kv_cache import KVCache
from server.model.paged_attention import PagedAttention


class AttentionBackend(Protocol):
    """Makes the context of a step. All backends give the answers of `PagedAttention`, to rounding."""

    def __call__(self, kv_cache: KVCache, batch: FlatBatch) -> AttentionContext:
        """The context that stores this batch's keys and values and attends over the cache."""


def choose_backend(device: torch.device) -> AttentionBackend:
    """The fastest backend for the device; `PagedAttention` runs on every device and is exact on each."""
    if device.type == "cpu" and cpu_attention.is_built():
        return CpuPagedAttention
    return PagedAttention
