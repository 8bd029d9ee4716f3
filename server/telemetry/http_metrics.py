"""Metrics of HTTP requests. Every label has few values: a route is its template, never the request's path."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from server.telemetry import buckets

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "(none)"


class HttpMetrics:
    """Counts and times, by route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "softprompt_http_requests",
            "HTTP requests by route, method, code of the error, if any, and status; 499 is a client that left first.",
            ["route", "method", "code", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "softprompt_http_request_duration_seconds",
            "From a request's headers to the last byte of its answer handed on, streams included.",
            ["route"],
            buckets=buckets.REQUEST_DURATION,
            registry=registry,
        )

    def done(self, route: str | None, method: str, code: str, status: int, duration_s: float) -> None:
        """Count an ended request. `route` is the template of the matching route, None if none matched.

        `code` is that of the error body, and empty where there was none.
        """
        label = route or NO_ROUTE
        self._requests.labels(label, method if method in _METHODS else "(other)", code, str(status)).inc()
        self._duration.labels(label).observe(duration_s)
