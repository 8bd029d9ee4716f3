"""How fast the device's memory is, and so how fast a decode step can be at best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.models import LlamaShape

_REPEATS = 10


def measure_bandwidth(device: torch.device, num_bytes: int) -> dict[str, float]:
    """Bytes a second of reading `num_bytes` once, and of copying them (which counts twice), medians of repeats."""
    source = torch.ones(num_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return {
        "read": num_bytes / _median_seconds(lambda: source.amax(), device),
        "copy": 2 * num_bytes / _median_seconds(lambda: target.copy_(source), device),
    }


def decode_bytes(shape: LlamaShape, batch: int, context: float) -> float:
    """What a decode step cannot do without reading: weights once, and keys and values of `context` positions each."""
    item = torch.finfo(getattr(torch, shape.dtype)).bits // 8
    numbers_a_position = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim
    return item * (shape.num_step_weights + batch * context * numbers_a_position)


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    work()
    seconds = []
    for _ in range(_REPEATS):
        _wait_for(device)
        began = time.perf_counter()
        work()
        _wait_for(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
