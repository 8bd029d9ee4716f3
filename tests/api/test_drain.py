"""A server that is told to stop takes no new work, says so, and ends what it has accepted."""

import asyncio

import httpx
import pytest

from server.app import create_app
from tests.api.conftest import error_of, publish

BODY = {"model": "tiny-base", "prompt": "a"}


async def test_new_work_is_refused_and_accepted_work_is_finished(client, services, engine):
    """A stream that runs goes on to its end; operations are answered, and say that the server is not ready."""
    engine.gate.clear()
    accepted = asyncio.create_task(client.post("/v1/completions", json=BODY | {"stream": True}))
    while not engine.unfinished:
        await asyncio.sleep(0.001)
    services.drain.begin()
    for refused in (
        await client.post("/v1/completions", json=BODY),
        await publish(client),
        await client.get("/ready"),
    ):
        assert (refused.status_code, error_of(refused)["code"]) == (503, "server_draining")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-should-retry"] == "true"
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/metrics")).status_code == 200
    ending = asyncio.create_task(services.drain.finish(grace_s=10))
    await asyncio.sleep(0.05)
    assert not ending.done()
    engine.gate.set()
    assert (await accepted).text.endswith("data: [DONE]\n\n")
    assert await ending is True


@pytest.mark.parametrize("path", ["/health", "/metrics", "/version"])
async def test_behind_a_root_path_operations_are_answered_too(services, path):
    """An orchestrator that is refused here would kill what is to end well."""
    app = create_app(services)
    transport = httpx.ASGITransport(app, root_path="/prompts")
    services.drain.begin()
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get(f"/prompts{path}")).status_code == 200


async def test_the_grace_period_ends(client, services, engine):
    """What runs longer is not waited for."""
    engine.gate.clear()
    accepted = asyncio.create_task(client.post("/v1/completions", json=BODY))
    while not engine.unfinished:
        await asyncio.sleep(0.001)
    assert await services.drain.finish(grace_s=0.05) is False
    accepted.cancel()


@pytest.mark.parametrize("path", ["/nowhere", "/v1/models", "/docs"])
async def test_everything_else_is_refused(client, services, path):
    services.drain.begin()
    assert (await client.get(path)).status_code == 503
