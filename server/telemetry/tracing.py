"""Traces by OpenTelemetry (extra `otel`): a span for each HTTP request, and in it one for each request to the engine.

Off unless an endpoint is named; then nothing of OpenTelemetry is imported. Attributes follow the conventions for HTTP
servers and for generative AI. Prompts and answers are in none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from server.engine.events import Encoded, EngineEvent, PromptProcessed, RequestFailed, Scored, TokenEvent
from server.engine.request import Generate, Kind, Request

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_SERVICE = "softprompt-server"
_OPERATIONS = {Generate.name: "text_completion"}  # the conventions' names for kinds of requests


class TracingUnavailable(Exception):
    """Traces are configured, but OpenTelemetry is not installed."""


class HttpSpan(Protocol):
    """The span of one HTTP request."""

    def done(self, route: str | None, status: int) -> None:
        """End the span. `route` is the template of the matching route."""


class Tracing(Protocol):
    """A source of spans for HTTP requests."""

    def http_span(self, scope: Any) -> Any:
        """Return a context manager with the `HttpSpan` of an ASGI request."""

    def close(self) -> None:
        """Send the remaining spans."""


class NoTracing:
    """Tracing that is off."""

    @contextmanager
    def http_span(self, scope: Any) -> Iterator[HttpSpan]:
        """See `Tracing`."""
        yield _NO_SPAN

    def close(self) -> None:
        """See `Tracing`."""


class _NoSpan:
    def done(self, route: str | None, status: int) -> None:
        """Do nothing."""


_NO_SPAN = _NoSpan()


def otlp_provider(endpoint: str, version: str) -> TracerProvider:
    """Spans sent to a collector in OTLP over HTTP, in the background. Raises `TracingUnavailable`."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailable("traces need OpenTelemetry: install softprompt-server[otel]") from error
    provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE, "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


class OtelTracing:
    """Tracing that is on. Also an `EngineObserver`, whose spans are children of the HTTP request's."""

    def __init__(self, provider: TracerProvider, base_id: str) -> None:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)
        self._base_id = base_id
        self._extract = extract
        self._kind = SpanKind.SERVER
        self._error = StatusCode.ERROR

    @contextmanager
    def http_span(self, scope: Any) -> Iterator[HttpSpan]:
        """See `Tracing`. With a `traceparent` header, the span continues the caller's trace."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {"http.request.method": scope["method"], "url.scheme": scope["scheme"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._extract(headers),
            kind=self._kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            span.set_attribute("softprompt.request_id", scope["state"]["request_id"])
            yield _OtelHttpSpan(span, self._error, scope["method"])

    def begin(self, request: Request[Kind]) -> _EngineSpan:
        """See `EngineObserver`."""
        model = request.task or self._base_id
        operation = _OPERATIONS.get(request.kind.name, request.kind.name)
        attributes: dict[str, str | int | float] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _SERVICE,
            "gen_ai.request.model": model,
            "gen_ai.response.id": request.request_id,
            "softprompt.num_virtual_tokens": request.prefix.num_virtual_tokens if request.prefix else 0,
        }
        if isinstance(request.kind, Generate):
            sampling = request.kind.sampling
            attributes |= {
                "gen_ai.request.max_tokens": sampling.max_tokens,
                "gen_ai.request.temperature": sampling.temperature,
                "gen_ai.request.top_p": sampling.top_p,
                "gen_ai.request.choice.count": request.kind.num_choices,
            }
        span = self._tracer.start_span(f"{operation} {model}", attributes=attributes)
        return _EngineSpan(span, self._error, len(request.prompt_token_ids))

    def close(self) -> None:
        """See `Tracing`."""
        self._provider.shutdown()


class _OtelHttpSpan:
    def __init__(self, span: Span, error: Any, method: str) -> None:
        self._span = span
        self._error = error
        self._method = method

    def done(self, route: str | None, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if route is not None:
            self._span.set_attribute("http.route", route)
            self._span.update_name(f"{self._method} {route}")
        if status >= 500:
            self._span.set_status(self._error)


class _EngineSpan:
    """The span of one request to the engine."""

    def __init__(self, span: Span, error: Any, num_prompt_tokens: int) -> None:
        self._span = span
        self._error = error
        self._num_prompt_tokens = num_prompt_tokens
        self._num_tokens = 0

    def event(self, event: EngineEvent) -> None:
        if isinstance(event, TokenEvent):
            if self._num_tokens == 0:
                self._span.add_event("first_token")
            self._num_tokens += 1
        elif isinstance(event, PromptProcessed | Scored | Encoded):
            self._span.set_attribute("gen_ai.usage.input_tokens", self._num_prompt_tokens)
            self._span.set_attribute("gen_ai.usage.cache_read.input_tokens", event.num_cached_tokens)
        elif isinstance(event, RequestFailed):
            self._span.set_attribute("error.type", type(event.cause).__name__)
            self._span.set_status(self._error)

    def end(self, *, is_aborted: bool) -> None:
        self._span.set_attribute("gen_ai.usage.output_tokens", self._num_tokens)
        self._span.set_attribute("softprompt.aborted", is_aborted)
        self._span.end()
