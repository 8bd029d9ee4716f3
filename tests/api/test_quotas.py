"""What one key may use: requests and tokens a minute, requests at once; alone and together with other servers."""

import asyncio
import itertools
import uuid

import httpx
import pytest

from prompts_store.keys import KeyGrant, KeyLimits
from server.api.access.caller import ANYBODY, BOOTSTRAP, Caller
from server.api.access.key_ring import KeyRing
from server.api.access.quotas import Quotas
from server.api.errors import RateLimited
from server.app import create_app
from server.engine.errors import EngineOverloaded
from tests.api.conftest import client_of, error_of
from tests.fakes.services import with_parts

BODY = {"model": "tiny-base", "prompt": "abcd"}


def caller(**limits):
    return Caller(f"key:{uuid.uuid4().hex}", limits=KeyLimits(**limits))


@pytest.fixture
async def limited_key(services):
    """A client whose key has these limits."""

    def make(redis_url=None, **limits):
        store, grant = services.store_access.store, KeyGrant("ci", frozenset({"infer"}), limits=KeyLimits(**limits))
        created = store.create_key(grant)
        context = client_of(with_parts(services, keys=KeyRing(store), quotas=Quotas(redis_url=redis_url)))
        return context, {"authorization": f"Bearer {created.secret}"}

    return make


async def test_more_requests_than_allowed_are_refused_until_the_minute_is_over(limited_key):
    """With a status, a code and two headers that clients understand."""
    context, headers = limited_key(max_requests_per_minute=2)
    async with context as client:
        for _ in range(2):
            assert (await client.post("/v1/completions", json=BODY, headers=headers)).status_code == 200
        response = await client.post("/v1/completions", json=BODY, headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (429, "requests_per_minute_exceeded")
    assert error_of(response)["type"] == "rate_limit_error"
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert response.headers["x-should-retry"] == "true"


async def test_prompts_and_answers_count_as_tokens(limited_key, engine):
    """A prompt that does not fit into what is left is refused; what is generated may run over."""
    context, headers = limited_key(max_tokens_per_minute=12)
    async with context as client:
        assert (await client.post("/v1/completions", json=BODY, headers=headers)).status_code == 200
        await asyncio.sleep(0.01)  # the answer's tokens are counted when it is done: 4 + 10
        response = await client.post("/v1/completions", json=BODY, headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (429, "tokens_per_minute_exceeded")
        labels = {"model": "tiny-base", "input": "abcd", "labels": ["a", "b"]}
        assert (await client.post("/v1/classify", json=labels, headers=headers)).status_code == 429
    assert len(engine.requests) == 1


async def test_what_the_engine_refuses_costs_no_tokens(limited_key, engine):
    """Neither what can never be served nor what finds the queue full, however often it is tried."""
    context, headers = limited_key(max_tokens_per_minute=40)
    labels = {"model": "tiny-base", "input": "abcd", "labels": ["a", "b"]}
    async with context as client:
        engine.max_context = 8
        for path, body in (("completions", BODY | {"max_tokens": 8}), ("classify", labels | {"input": "abcdefghi"})):
            for _ in range(8):
                refused = await client.post(f"/v1/{path}", json=body, headers=headers)
                assert (refused.status_code, error_of(refused)["code"]) == (400, "context_exceeded")
        engine.max_context, engine.refuse = 256, EngineOverloaded("full")
        for path, body in (("completions", BODY), ("classify", labels)):
            for _ in range(8):
                assert (await client.post(f"/v1/{path}", json=body, headers=headers)).status_code == 429
        engine.refuse = None
        assert (await client.post("/v1/classify", json=labels, headers=headers)).status_code == 200
        assert (await client.post("/v1/completions", json=BODY, headers=headers)).status_code == 200


@pytest.mark.parametrize("redis", [False, True])
async def test_what_never_fits_into_a_minute_is_refused_for_good(limited_key, engine, redis, request):
    """A 400 with both numbers: a client that is asked to retry would retry without end."""
    context, headers = limited_key(
        redis_url=request.getfixturevalue("redis_url") if redis else None, max_tokens_per_minute=12
    )
    asked = [
        ("/v1/completions", BODY | {"prompt": "abcdefghijklm"}, 13),
        ("/v1/completions", BODY | {"prompt": ["abcd"] * 4, "stream": True}, 16),
        ("/v1/classify", {"model": "tiny-base", "input": ["abcdefg"] * 2, "labels": ["a", "b"]}, 14),
    ]
    async with context as client:
        for path, body, num_tokens in asked:
            response = await client.post(path, json=body, headers=headers)
            assert (response.status_code, error_of(response)["code"]) == (400, "tokens_per_minute_too_few")
            assert f"{num_tokens} tokens" in error_of(response)["message"]
            assert "12 " in error_of(response)["message"]
            assert "retry-after" not in response.headers
        fits = BODY | {"prompt": "abcdefghijkl", "max_tokens": 100}
        assert (await client.post("/v1/completions", json=fits, headers=headers)).status_code == 200
    assert len(engine.requests) == 1


async def test_requests_at_once_are_bounded_and_come_free_again(services, limited_key, engine):
    """Also streams, and those whose client has gone."""
    context, headers = limited_key(max_concurrent=1)
    engine.gate.clear()
    async with context as client:
        first = asyncio.create_task(client.post("/v1/completions", json=BODY, headers=headers))
        while not engine.unfinished:
            await asyncio.sleep(0.001)
        response = await client.post("/v1/completions", json=BODY, headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (429, "too_many_concurrent_requests")
        engine.gate.set()
        assert (await first).status_code == 200
        stream = await client.post("/v1/completions", json=BODY | {"stream": True}, headers=headers)
        assert stream.text.endswith("[DONE]\n\n")
        assert (await client.post("/v1/completions", json=BODY, headers=headers)).status_code == 200


async def test_requests_that_come_together_are_bounded_too(monkeypatch):
    """None slips in while another is being counted."""
    quotas, who = Quotas(), caller(max_concurrent=2, max_requests_per_minute=100)
    test = quotas._alone.test

    async def slowly(*arguments, **named):
        await asyncio.sleep(0.01)
        return await test(*arguments, **named)

    monkeypatch.setattr(quotas._alone, "test", slowly)
    assert await num_admitted([quotas], who, 10) == 2
    assert not quotas._num_running


async def num_admitted(each, who, num_requests) -> int:
    """How many are let in of requests that come at the same moment, one after the other to each of some servers."""
    num_in = num_refused = 0
    all_are_told = asyncio.Event()

    async def ask(quotas):
        nonlocal num_in, num_refused
        try:
            async with quotas.request(who):
                num_in += 1
                await all_are_told.wait()
        except RateLimited:
            num_refused += 1

    async with asyncio.TaskGroup() as group:
        for _, quotas in zip(range(num_requests), itertools.cycle(each), strict=False):
            group.create_task(ask(quotas))
        while num_in + num_refused < num_requests:
            await asyncio.sleep(0.001)
        all_are_told.set()
    return num_in


async def test_a_key_that_says_nothing_has_the_servers_limits():
    """So does who calls a server without keys; the admin key has none."""
    quotas = Quotas(KeyLimits(max_requests_per_minute=1))
    for who in (caller(), ANYBODY):
        async with quotas.request(who):
            pass
        with pytest.raises(RateLimited):
            async with quotas.request(who):
                pass
    for _ in range(3):
        async with quotas.request(BOOTSTRAP):
            pass


async def test_one_keys_use_is_not_anothers():
    """Each has a counter of its own."""
    quotas, one, other = Quotas(), caller(max_requests_per_minute=1), caller(max_requests_per_minute=1)
    for who in (one, other):
        async with quotas.request(who):
            pass


async def test_without_limits_nothing_is_counted():
    """Memory does not grow with the callers."""
    quotas = Quotas()
    for _ in range(100):
        async with quotas.request(caller()):
            pass
    assert not quotas._num_running


async def test_servers_count_together_in_redis(redis_url):
    """What one has let through, the other does not let through again."""
    one, other = Quotas(redis_url=redis_url), Quotas(redis_url=redis_url)
    who = caller(max_requests_per_minute=2, max_tokens_per_minute=10)
    async with one.counting(), other.counting():
        for quotas in (one, other):
            async with quotas.request(who):
                pass
            await quotas.take_tokens(who, 5)
        for quotas in (one, other):
            with pytest.raises(RateLimited):
                async with quotas.request(who):
                    pass
            with pytest.raises(RateLimited):
                await quotas.take_tokens(who, 1)


async def test_servers_that_count_at_the_same_moment_let_no_more_through(redis_url):
    """To look and to count are two steps; between them nobody else's count is lost."""
    one, other = Quotas(redis_url=redis_url), Quotas(redis_url=redis_url)
    async with one.counting(), other.counting():
        assert await num_admitted([one, other], caller(max_requests_per_minute=3), 20) == 3


async def test_requests_at_once_are_bounded_over_all_servers(redis_url):
    """Whichever of them a request comes to; what has ended makes room."""
    who = caller(max_concurrent=3)
    for _ in range(2):
        one, other = Quotas(redis_url=redis_url), Quotas(redis_url=redis_url)
        async with one.counting(), other.counting():
            assert await num_admitted([one, other], who, 20) == 3


async def test_without_redis_each_server_counts_alone():
    """Nothing fails, and the limits go on."""
    quotas = Quotas(redis_url="redis://127.0.0.1:1/0")
    who = caller(max_requests_per_minute=1)
    async with quotas.counting():
        async with quotas.request(who):
            pass
        with pytest.raises(RateLimited):
            async with quotas.request(who):
                pass
        assert await num_admitted([quotas], caller(max_concurrent=2), 5) == 2


async def test_health_checks_are_not_counted(services):
    """Public routes have no caller."""
    app = create_app(with_parts(services, quotas=Quotas(KeyLimits(max_requests_per_minute=1))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for _ in range(3):
            assert (await client.get("/health")).status_code == 200
