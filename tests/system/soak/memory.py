"""Whether memory grows: a curve that is written as it is measured, and a straight line through its medians.

Resident memory moves by some 50 MiB within a minute, since freed memory is given back once a minute. So the line goes
through the medians of windows of two minutes, after the first 30 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import httpx
import numpy as np

from tests.system.server_process import ServerProcess
from tests.system.soak.findings import scrape

INTERVAL_S = 5.0
WARM_UP_S = 1800.0
WINDOW_S = 120.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment: seconds since the start, MiB, and the number of requests that were answered until then.

    `live_mib` and `free_mib` are of the C heap.
    """

    time_s: float
    resident_mib: float
    live_mib: float
    free_mib: float
    num_answered: int


@dataclass(frozen=True, slots=True)
class Line:
    """Ordinary least squares: the slope, in units of y for each unit of x, and the half of its 95 % interval."""

    slope: float
    half_interval: float

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.slope + self.half_interval


def fit(x: Sequence[float], y: Sequence[float]) -> Line:
    """The line through at least three points. The interval takes their errors as independent."""
    across, up = np.array(x), np.array(y)
    centred = across - across.mean()
    slope = float(centred @ up / (centred @ centred))
    residuals = up - up.mean() - slope * centred
    freedom = len(x) - 2
    error = math.sqrt(float(residuals @ residuals) / freedom / float(centred @ centred))
    return Line(slope, _student_t(freedom) * error)


def _student_t(freedom: int) -> float:
    """The 97.5 % point of Student's t (Abramowitz and Stegun, 26.7.5): within 0.05 from five degrees of freedom on."""
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / freedom ** (number + 1) for number, term in enumerate(terms))


def medians(samples: Iterable[Sample], warm_up_s: float = WARM_UP_S, window_s: float = WINDOW_S) -> list[Sample]:
    """The medians of whole windows after warm-up."""
    windows: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.time_s >= warm_up_s:
            windows.setdefault(int((sample.time_s - warm_up_s) / window_s), []).append(sample)
    whole = list(windows.values())[:-1]
    return [Sample(*map(statistics.median, zip(*map(astuple, window), strict=True))) for window in whole]


async def watch(
    server: ServerProcess, client: httpx.AsyncClient, num_answered: Callable[[], int], samples: list[Sample], path: Path
) -> None:
    """Sample until cancelled; each sample is a line of the CSV file at once."""
    began = asyncio.get_running_loop().time()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Sample))
        while True:
            found = await scrape(client)
            live, free = (found["softprompt_heap_bytes", state] / MIB for state in ("live", "free"))
            now = asyncio.get_running_loop().time() - began
            samples.append(
                Sample(round(now, 1), round(server.resident_mib, 2), round(live, 2), round(free, 2), num_answered())
            )
            writer.writerow(astuple(samples[-1]))
            file.flush()
            await asyncio.sleep(INTERVAL_S)


def read(path: Path) -> list[Sample]:
    """What `watch` wrote."""
    with path.open(newline="") as file:
        return [
            Sample(*(float(row[field.name]) for field in fields(Sample)[:-1]), int(row["num_answered"]))
            for row in csv.DictReader(file)
        ]


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Resident memory and the live heap over time, with the medians that are judged. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    hours = [sample.time_s / 3600 for sample in samples]
    axes.plot(hours, [sample.resident_mib for sample in samples], linewidth=0.5, alpha=0.5, label="resident")
    axes.plot(hours, [sample.live_mib for sample in samples], linewidth=0.5, alpha=0.5, label="live heap")
    for name in ("resident_mib", "live_mib"):
        points = medians(samples)
        axes.plot([each.time_s / 3600 for each in points], [getattr(each, name) for each in points], "k.", markersize=3)
    axes.set_xlabel("hours")
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw a curve that a soak wrote.")
    parser.add_argument("curve", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw(read(given.curve), given.picture)
