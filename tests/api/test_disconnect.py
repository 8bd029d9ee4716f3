"""A client that goes away ends its request, however far it has got."""

import asyncio
import json

import pytest

from server.app import create_app

BODIES = {
    "/v1/completions": {"model": "tiny-base", "prompt": ["a", "b"], "n": 2},
    "/v1/chat/completions": {"model": "tiny-base", "messages": [{"role": "user", "content": "a"}]},
    "/v1/classify": {"model": "tiny-base", "input": ["a", "b"], "labels": ["x", "y"]},
}


async def call_and_leave(app, path, body, *, when):
    """Call the application by ASGI, and disconnect once `when` is true of what it sent."""
    sent, gone = [], asyncio.Event()
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http", "server": ("test", 80),
        "client": ("test", 1), "root_path": "", "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    call = asyncio.create_task(app(scope, receive, send))
    while not when(sent):
        await asyncio.sleep(0.001)
    gone.set()
    await asyncio.wait([call], timeout=30)
    assert call.done()
    return sent


async def settled(engine):
    async with asyncio.timeout(30):
        while engine.unfinished:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
async def test_a_waiting_request_is_ended(services, engine, path, stream):
    """Even one that has not had a token yet."""
    app = create_app(services)
    engine.gate.clear()
    body = BODIES[path] | ({"stream": stream} if path != "/v1/classify" else {})
    async with app.router.lifespan_context(app):
        sent = await call_and_leave(
            app, path, body, when=lambda _: len(engine.unfinished) >= len(body.get("prompt", "x"))
        )
        await settled(engine)
        assert engine.requests
        assert sent[0]["status"] == (200 if stream and path != "/v1/classify" else 499)
        assert not engine.unfinished


async def test_a_stream_half_way_is_ended(services, engine):
    """The engine is told, and computes no further."""
    app = create_app(services)
    engine.script = lambda request, choice: [5] * 10_000
    engine.max_context = 100_000
    body = {"model": "tiny-base", "prompt": "a", "max_tokens": 10_000, "stream": True}
    async with app.router.lifespan_context(app):
        await call_and_leave(app, "/v1/completions", body, when=lambda sent: len(sent) > 5)
        await settled(engine)
        assert not engine.unfinished
        assert (engine.requests[0].request_id, None) in engine.aborted
