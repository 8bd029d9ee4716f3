"""The histogram of the event loop is one of Prometheus's to every reader."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from server.telemetry.loop_histogram import LoopHistogram


def test_it_is_rendered_as_prometheus_renders_its_own():
    """Values on a bound count in its bucket."""
    texts = []
    for kind in (Histogram, LoopHistogram):
        registry = CollectorRegistry()
        histogram = kind("latency_seconds", "Words.", buckets=(0.5, 1.0, 2.5), registry=registry)
        for value in (0.2, 0.5, 0.7, 2.5, 9.0):
            histogram.observe(value)
        texts.append(re.sub(r"(_created) .*", r"\1", generate_latest(registry).decode()))
    assert texts[1] == texts[0]
    assert 'le="+Inf"' in texts[0]
