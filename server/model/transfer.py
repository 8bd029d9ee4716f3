"""Copies from host memory to the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def to_device(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy without waiting for the device: on CUDA, through pinned memory that PyTorch reuses."""
    if device.type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


def to_index(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """Int64 numbers on the device, sent the same way."""
    return to_device(torch.tensor(numbers, dtype=torch.long, device="cpu"), device)
