"""Requests of the application leave spans where tracing is on."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.telemetry.tracing import OtelTracing
from tests.api.conftest import client_of
from tests.fakes.services import with_parts


async def test_an_answer_and_a_refusal_leave_spans(services, engine):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = OtelTracing(provider, "tiny-base")
    engine.observers = [tracing]
    services = with_parts(services, tracing=tracing)
    async with client_of(services) as client:
        body = {"model": "tiny-base", "prompt": "something private", "stream": True}
        assert (await client.post("/v1/completions", json=body)).status_code == 200
        assert (await client.get("/nowhere/private")).status_code == 404
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /v1/completions", "text_completion tiny-base", "GET"}
    assert spans["text_completion tiny-base"].parent.span_id == spans["POST /v1/completions"].context.span_id
    assert spans["text_completion tiny-base"].attributes["gen_ai.usage.output_tokens"] > 0
    assert "private" not in "".join(span.to_json() for span in spans.values())
