"""Spans: one a request, one in it for the engine, with figures and without words."""

from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.engine.events import (
    ChoiceFinished,
    FinishReason,
    PromptProcessed,
    RequestFailed,
    RequestFinished,
    Scored,
    TokenEvent,
)
from server.engine.request import Generate, Request, SamplingParams, Score
from server.telemetry.tracing import OtelTracing, otlp_provider

SCOPE = {
    "type": "http",
    "method": "POST",
    "scheme": "http",
    "path": "/v1/tasks/secret",
    "headers": [(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")],
    "state": {"request_id": "req-1"},
}
REQUEST = Request("r1", "sentiment", (1, 2, 3), Generate(SamplingParams(max_tokens=4, temperature=0.5)))


@pytest.fixture
def traced():
    """Tracing, and a function that reads the ended spans by name."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield OtelTracing(provider, "tiny-base"), lambda: {span.name: span for span in exporter.get_finished_spans()}
    provider.shutdown()


def test_spans_of_request_and_engine_continue_the_callers_trace(traced):
    """The engine's span is a child of the request's, whose parent is the caller's."""
    tracing, spans = traced
    with tracing.http_span(SCOPE) as http:
        watch = tracing.begin(REQUEST)
        for event in (PromptProcessed(2), TokenEvent(0, 7), TokenEvent(0, 8), RequestFinished()):
            watch.event(event)
        watch.end(is_aborted=False)
        http.done("/v1/completions", 200)
    outer, inner = spans()["POST /v1/completions"], spans()["text_completion sentiment"]
    assert inner.parent.span_id == outer.context.span_id
    assert f"{outer.context.trace_id:x}" == "a" * 32
    assert outer.attributes["http.route"] == "/v1/completions"
    assert outer.attributes["http.response.status_code"] == 200
    assert outer.attributes["softprompt.request_id"] == "req-1"
    assert {name: inner.attributes[name] for name in inner.attributes if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "softprompt-server",
        "gen_ai.request.model": "sentiment",
        "gen_ai.request.max_tokens": 4,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.choice.count": 1,
        "gen_ai.response.id": "r1",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.output_tokens": 2,
    }
    assert [event.name for event in inner.events] == ["first_token"]
    assert "/v1/tasks/secret" not in str([dict(span.attributes) for span in spans().values()])


def test_failures_are_marked_without_their_words(traced):
    """An exception's text may quote a prompt."""
    tracing, spans = traced
    watch = tracing.begin(replace(REQUEST, task=""))
    watch.event(ChoiceFinished(0, FinishReason.ABORTED))
    watch.event(RequestFailed(RuntimeError("a secret")))
    watch.end(is_aborted=True)
    with pytest.raises(ValueError, match="a secret"), tracing.http_span(SCOPE) as http:
        http.done(None, 500)
        raise ValueError("a secret")
    outer, inner = spans()["POST"], spans()["text_completion tiny-base"]
    assert not outer.status.is_ok
    assert not inner.status.is_ok
    assert inner.attributes["error.type"] == "RuntimeError"
    assert "secret" not in outer.to_json() + inner.to_json()


def test_a_score_request_has_a_span(traced):
    tracing, spans = traced
    watch = tracing.begin(Request("s1", "sentiment", (1,), Score(((2,),))))
    watch.event(Scored((-1.0,), 0))
    watch.end(is_aborted=False)
    assert spans()["score sentiment"].attributes["gen_ai.usage.input_tokens"] == 1


def test_the_provider_names_the_service():
    """Nothing is sent before there is a span."""
    provider = otlp_provider("http://127.0.0.1:9/v1/traces", "0.1.0")
    assert provider.resource.attributes["service.name"] == "softprompt-server"
    provider.shutdown()
