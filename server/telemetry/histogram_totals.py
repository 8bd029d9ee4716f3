"""The content of a histogram, for readers other than Prometheus."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prometheus_client import Histogram

from server.telemetry.loop_histogram import LoopHistogram


@dataclass(frozen=True, slots=True)
class HistogramTotals:
    """All observations so far, in seconds. `buckets` are pairs of an upper bound and the number of times up to it."""

    count: int
    sum_s: float
    buckets: tuple[tuple[float, int], ...]


def totals_of(histogram: Histogram | LoopHistogram) -> HistogramTotals:
    """Read a histogram without labels."""
    (metric,) = histogram.collect()
    samples = {sample.name.removeprefix(metric.name): sample.value for sample in metric.samples}
    bounds = [(float(each.labels["le"]), int(each.value)) for each in metric.samples if "le" in each.labels]
    finite = tuple((bound, number) for bound, number in bounds if math.isfinite(bound))
    return HistogramTotals(int(samples["_count"]), samples["_sum"], finite)
