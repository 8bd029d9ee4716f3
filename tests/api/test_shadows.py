"""Shadow aliases: a second version answers beside the first, is compared with it, and delays nobody."""

import asyncio
import time

import pytest

from tests.api.conftest import publish
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
SHADOW = "/v1/tasks/sentiment/aliases/next"
GREEDY = {"model": "sentiment", "prompt": "a", "temperature": 0}
NOTHING = {"num_compared": 0, "num_agreed": 0, "num_dropped": 0, "num_failed": 0}


@pytest.fixture
async def shadowed(client, engine):
    """Version 1 in production, version 2 its shadow; what version 2 says can be set."""
    await publish(client)
    second = (await publish(client, seed=1)).json()["prefix_digest"]
    body = {"version": 2, "shadow_of": "production"}
    assert (await client.put(SHADOW, json=body, headers={"If-None-Match": "*"})).status_code == 200
    says = {"second": " positive"}

    def script(request, choice):
        text = says["second"] if request.prefix.digest == second else " positive"
        return (*TOKENIZER.encode(text), TOKENIZER.eos_token_id)

    engine.script = script
    return says


async def agreement(client, **expected):
    """Wait until the shadow's counters are these."""
    deadline = time.monotonic() + 30
    while (found := (await client.get(SHADOW)).json()["agreement"]) != NOTHING | expected:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)


async def test_agreement_is_counted(client, shadowed):
    """By text; the alias alone answers, and an alias that is no shadow has no counters."""
    await agreement(client)
    answer = await client.post("/v1/completions", json=GREEDY)
    assert answer.headers["x-softprompt-version"] == "1"
    await agreement(client, num_compared=1, num_agreed=1)
    shadowed["second"] = " negative"
    assert (await client.post("/v1/completions", json=GREEDY)).json()["choices"][0]["text"] == " positive"
    await agreement(client, num_compared=2, num_agreed=1)
    chat = {"model": "sentiment", "messages": [{"role": "user", "content": "a"}], "temperature": 0}
    await client.post("/v1/chat/completions", json=chat)
    await agreement(client, num_compared=3, num_agreed=1)
    await client.post("/v1/classify", json={"model": "sentiment", "input": ["a", "b"]})
    await agreement(client, num_compared=4, num_agreed=2)
    assert "agreement" not in (await client.get("/v1/tasks/sentiment/aliases/production")).json()


async def test_what_cannot_be_compared_is_not_run_twice(client, shadowed, engine):
    """Streams, sampled answers, and requests that name the version or the shadow themselves."""
    for changes in ({"stream": True}, {"temperature": 1}, {"model": "sentiment@1"}, {"model": "sentiment@next"}):
        before = len(engine.requests)
        await client.post("/v1/completions", json=GREEDY | changes)
        await asyncio.sleep(0.02)
        assert len(engine.requests) == before + 1
    await agreement(client)


async def test_a_shadow_never_delays_an_answer(client, shadowed, services, engine, monkeypatch):
    """Where it hangs, answers go on; more than the queue holds is dropped."""
    hanging, load = asyncio.Event(), services.inference.catalog.parts

    async def hang(record):
        if record.version == 2:
            await hanging.wait()
        return await load(record)

    monkeypatch.setattr(services.inference.catalog, "parts", hang)
    for _ in range(40):
        answer = await asyncio.wait_for(client.post("/v1/completions", json=GREEDY), 30)
        assert answer.status_code == 200
    await agreement(client, num_dropped=40 - 32 - 1)


async def test_a_shadow_that_fails_is_counted_and_the_next_is_run(client, shadowed, services, monkeypatch):
    """Its failure is nobody's answer."""

    load = services.inference.catalog.parts

    async def broken(record):
        if record.version == 2:
            raise RuntimeError("broken")
        return await load(record)

    with monkeypatch.context() as patch:
        patch.setattr(services.inference.catalog, "parts", broken)
        assert (await client.post("/v1/completions", json=GREEDY)).status_code == 200
        await agreement(client, num_failed=1)
    await client.post("/v1/completions", json=GREEDY)
    await agreement(client, num_failed=1, num_compared=1, num_agreed=1)
