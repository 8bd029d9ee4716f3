"""The heap of the process at each scrape: whether memory that grows is in use, or freed and not returned."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from server.model.allocator import heap_size


class HeapCollector(Collector):
    """No metrics where the allocator does not tell."""

    def collect(self) -> Iterator[Metric]:
        """One gauge with two states."""
        size = heap_size()
        if size is None:
            return
        family = GaugeMetricFamily(
            "softprompt_heap_bytes",
            "Memory of the C heap: live (in use), and free (held, not in use).",
            labels=("state",),
        )
        family.add_metric(("live",), size.live)
        family.add_metric(("free",), size.free)
        yield family
