"""The page of metrics: names, kinds, labels and help, as the server registers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from docs.reference.markdown import code, table
from server.engine.client import EngineStats
from server.telemetry.heap_metrics import HeapCollector
from server.telemetry.metrics import Metrics
from server.telemetry.state_metrics import ServerState, ShadowCounts, StateCollector

_HEAD = """# Metrics

`GET /metrics` returns these in Prometheus's text format. [Operations](../operations.md#metrics) has the meaning of
each for an operator, and the action for each alert. A counter's name ends in `_total`; a histogram has `_bucket`,
`_sum` and `_count`. The usual `process_…` and `python_…` metrics describe the process itself.

`make reference` writes this page from the code.

"""
_PREFIX = "softprompt_"


def metrics_page() -> str:
    """Return the page as Markdown."""
    return _HEAD + table(
        ["metric", "kind", "labels", "meaning"],
        [
            (code(_series(family)), family.type, ", ".join(map(code, labels)), family.documentation)
            for family, labels in sorted(_families(), key=lambda one: one[0].name)
        ],
    )


def _families() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Yield every family of ours with the names of its labels."""
    metrics = Metrics()
    for part in (metrics.http, metrics.requests):
        for wrapper in vars(part).values():
            if isinstance(wrapper, MetricWrapperBase):
                for family in wrapper.describe():
                    yield family, tuple(wrapper._labelnames)  # the client library has no public name for it
    for collector in (metrics.requests.between_tokens, HeapCollector(), StateCollector(_state(), metrics.tasks)):
        for family in collector.collect():
            yield family, _labels(family)


def _labels(family: Metric) -> tuple[str, ...]:
    names: Iterable[str] = family.samples[0].labels if family.samples else ()
    return tuple(name for name in names if name != "le")


def _series(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _state() -> ServerState:
    """Return a state in which every family has a sample."""
    return ServerState(
        version="",
        base_id="",
        engine=EngineStats(0, 0, 0, 0, 0, 0, 0, 0, 0),
        engine_is_alive=True,
        is_ready=True,
        is_draining=False,
        num_open_requests=0,
        store_is_reachable=True,
        store_age_s=0.0,
        shadows={"": ShadowCounts()},
    )
