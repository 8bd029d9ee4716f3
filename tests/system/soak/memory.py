"""Whether memory grows: a straight line through the server's resident memory, its start left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.system.server_process import ServerProcess

INTERVAL_S = 1.0
WARM_UP_SHARE = 1 / 3
MAX_WARM_UP_S = 600.0


@dataclass(frozen=True, slots=True)
class Line:
    """The least-squares line after warm-up. `growth_mib` is what it says the window added."""

    first_mib: float
    last_mib: float
    slope_mib_h: float
    window_s: float

    @property
    def growth_mib(self) -> float:
        """Over the window."""
        return self.slope_mib_h * self.window_s / 3600


def fit(samples: Sequence[tuple[float, float]]) -> Line:
    """The line of `(time_s, resident_mib)` samples from the end of warm-up on."""
    times, sizes = np.array(samples).T
    duration_s = times[-1] - times[0]
    is_warm = times - times[0] >= min(MAX_WARM_UP_S, duration_s * WARM_UP_SHARE)
    times, sizes = times[is_warm], sizes[is_warm]
    slope = float(np.polyfit(times - times[0], sizes, 1)[0]) * 3600
    return Line(float(sizes[0]), float(sizes[-1]), slope, float(times[-1] - times[0]))


async def watch(server: ServerProcess, samples: list[tuple[float, float]]) -> None:
    """Sample until cancelled."""
    while True:
        samples.append((time.monotonic(), server.resident_mib))
        await asyncio.sleep(INTERVAL_S)
