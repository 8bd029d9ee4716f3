"""All metrics of a process: some count events, others are read from the server's state at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from server.telemetry.heap_metrics import HeapCollector
from server.telemetry.http_metrics import HttpMetrics
from server.telemetry.request_metrics import RequestMetrics
from server.telemetry.state_metrics import ServerState, StateCollector
from server.telemetry.task_labels import TaskLabels

CONTENT_TYPE = CONTENT_TYPE_LATEST
DEFAULT_MAX_TASKS = 200


class Metrics:
    """One registry. `max_tasks` is the maximum number of tasks with metrics of their own."""

    def __init__(self, max_tasks: int = DEFAULT_MAX_TASKS) -> None:
        self._registry = CollectorRegistry()
        self.tasks = TaskLabels(max_tasks)
        self.http = HttpMetrics(self._registry)
        self.requests = RequestMetrics(self._registry, self.tasks)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(HeapCollector())

    def include(self, prefix: str) -> None:
        """Render the metrics of a library too: those of its process-wide registry whose names begin so."""
        self._registry.register(_Library(prefix))

    def render(self, state: ServerState) -> bytes:
        """All metrics in Prometheus's text format. May run in any thread."""
        states = CollectorRegistry(auto_describe=False)
        states.register(StateCollector(state, self.tasks))
        return generate_latest(self._registry) + generate_latest(states)


class _Library(Collector):
    """The metrics that a library registered process-wide, by the beginning of their names."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in REGISTRY.collect() if metric.name.startswith(self._prefix))
