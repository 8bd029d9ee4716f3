"""The choice of attention for a device. Kernels for other devices are added here."""

from __future__ import annotations

import torch

from server.model.attention import AttentionBackend
from server.model.cpu import attention as cpu_attention
from server.model.cpu.attention import CpuPagedAttention
from server.model.gpu.attention import TritonAttention, is_triton_available
from server.model.paged_attention import PagedAttention


def choose_backend(device: torch.device, *, exact: bool = False) -> AttentionBackend:
    """The fastest backend for the device, or (`exact`) that of plain PyTorch operations, which runs on every device."""
    if exact:
        return PagedAttention
    if device.type == "cuda" and is_triton_available():
        return TritonAttention
    if device.type == "cpu" and cpu_attention.is_built():
        return CpuPagedAttention
    return PagedAttention
