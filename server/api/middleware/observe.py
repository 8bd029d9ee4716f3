"""Measurement of HTTP requests: a count, a duration and, if tracing is on, a span per request."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.responses.error_responses import CLIENT_CLOSED_REQUEST, error_code
from server.api.responses.error_table import INTERNAL_ERROR
from server.telemetry.metrics import Metrics
from server.telemetry.tracing import Tracing


class ObserveMiddleware:
    """Measures each request to its end."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status, code = time.monotonic(), CLIENT_CLOSED_REQUEST, None

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracing.http_span(scope) as span:
            try:
                await self._app(scope, receive, send_noting_status)
            except Exception:
                status, code = 500, INTERNAL_ERROR.code  # answered further outside
                raise
            finally:
                route = getattr(scope.get("route"), "path", None)
                duration_s = time.monotonic() - began
                self._metrics.http.done(route, scope["method"], code or error_code(scope), status, duration_s)
                span.done(route, status)
