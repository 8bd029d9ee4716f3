"""Overload: who would come too late is refused at the door, deadlines end what runs, keys bound priorities."""

import asyncio
from dataclasses import replace

import pytest
from prometheus_client.exposition import generate_latest

from prompts_store.keys import KeyGrant
from server.api.access.key_ring import KeyRing
from server.api.access.overload import OverloadGuard
from server.api.errors import Overloaded
from server.engine.client import EngineStats
from tests.api.conftest import client_of, error_of, events_of
from tests.fakes.services import with_parts

BODIES = {
    "/v1/completions": {"model": "tiny-base", "prompt": "a"},
    "/v1/chat/completions": {"model": "tiny-base", "messages": [{"role": "user", "content": "a"}]},
    "/v1/classify": {"model": "tiny-base", "input": "a", "labels": ["x", "y"]},
}
IDLE = EngineStats(0, 1, 0, 0, 0, 0, 0, 0, 0)
BUSY = EngineStats(8, 2, 0, 0, 0, 0, 0, 0, 0)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def saturated(max_wait_s=60.0, interval_s=0.5):
    """An admission that has seen requests leave at this interval while others waited, with ten in the engine."""
    clock = Clock()
    admission = OverloadGuard(max_wait_s, clock=clock)
    works = [admission.begin() for _ in range(20)]
    admission.check(BUSY, None)
    for work in works[:10]:
        clock.now += interval_s
        work.answered()
    return admission


class BusyEngine:
    """An engine that says that it is busy, whatever it does."""

    stats = BUSY

    def __init__(self, engine):
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)


def test_a_deadline_that_cannot_be_met_is_said_at_once():
    """Ten requests, one each half second: an answer takes five and a half seconds, and a quarter more to be sure."""
    admission = saturated()
    admission.check(BUSY, 7.0)
    admission.check(BUSY, None)
    with pytest.raises(Overloaded) as refused:
        admission.check(BUSY, 6.7)
    assert refused.value.retry_after_s == 4


def test_no_wait_is_longer_than_the_servers_own_bound():
    """Whatever time the caller has."""
    saturated(max_wait_s=4.1).check(BUSY, None)
    with pytest.raises(Overloaded):
        saturated(max_wait_s=3.8).check(BUSY, 3_600)


def test_while_nobody_waits_everybody_comes_in():
    """What an idle server's clients do slowly says nothing of its speed."""
    admission = saturated(interval_s=100.0)
    admission.check(IDLE, 0.001)


def test_an_idle_hour_is_no_slow_answer():
    """The first answer of a burst came after the last one before the pause; that says nothing of the server's speed."""
    clock = Clock()
    admission = OverloadGuard(60.0, clock=clock)
    admission.check(IDLE, None)
    admission.begin().answered()
    clock.now += 3_600
    works = [admission.begin() for _ in range(20)]
    admission.check(BUSY, None)
    for work in works[:3]:
        clock.now += 0.5
        work.answered()
    admission.check(BUSY, 12.0)


def test_what_is_given_up_says_nothing_of_the_servers_speed():
    """Else deadlines that pass would look like answers, and let in more of what cannot be answered either."""
    admission = saturated()
    works = [admission.begin() for _ in range(100)]
    for work in works:
        work.given_up()
    with pytest.raises(Overloaded):
        admission.check(BUSY, 6.7)
    admission.check(BUSY, 7.0)


def filled():
    """An admission of an engine for four, whose clients have just filled it; each answer took a second."""
    clock = Clock()
    admission = OverloadGuard(60.0, 4, clock)
    works = [admission.begin() for _ in range(4)]
    for _ in range(5):
        clock.now += 1.0
        for work in works:
            work.answered()
        works = []
        for _ in range(4):
            admission.check(IDLE, 1.5)
            works.append(admission.begin())
    return admission, works, clock


def test_a_full_engine_is_measured_though_nobody_waits():
    """Else the first of a flood would all come in: a quarter of a second each and to be sure, the fifth takes 1.5 s."""
    admission, works, _ = filled()
    admission.check(IDLE, 1.6)
    with pytest.raises(Overloaded):
        admission.check(IDLE, 1.4)
    works[0].answered()
    admission.check(IDLE, 0.001)


def test_an_engine_that_was_full_is_not_for_ever():
    """What passes until the next request comes counts as nothing."""
    admission, works, clock = filled()
    clock.now += 1.0
    for work in works:
        work.answered()
    clock.now += 100.0
    for _ in range(4):
        admission.check(IDLE, 0.001)
        admission.begin()
    admission.check(IDLE, 1.6)


def test_answers_that_are_long_and_rare_are_not_forgotten():
    """One at a time, a minute each: who comes next waits for a minute or so, not for ever."""
    clock = Clock()
    admission = OverloadGuard(200.0, 1, clock)
    work = admission.begin()
    for _ in range(5):
        clock.now += 60.0
        work.answered()
        work = admission.begin()
    admission.begin()
    clock.now += 50.0
    one_each = replace(IDLE, num_waiting=1)
    admission.check(one_each, 300.0)
    with pytest.raises(Overloaded) as refused:
        admission.check(one_each, 180.0)
    assert 60 <= refused.value.retry_after_s <= 90


def test_many_long_runs_will_end_soon():
    """One of 64 that began together has ended early: that the others took a minute so far is no minute each."""
    clock = Clock()
    admission = OverloadGuard(600.0, 64, clock)
    works = [admission.begin() for _ in range(65)]
    clock.now += 1.0
    works[0].answered()
    clock.now += 59.0
    full = replace(IDLE, num_running=64)
    admission.check(full, 80.0)
    with pytest.raises(Overloaded):
        admission.check(full, 70.0)


def test_a_request_of_many_sequences_is_one_request():
    """A thousand labels, of which most wait for their place, where requests have left each half second."""
    clock = Clock()
    admission = OverloadGuard(60.0, 64, clock)
    many_labels = replace(IDLE, num_waiting=936, num_running=64)
    admission.check(many_labels, None)
    for _ in range(20):
        work = admission.begin()
        clock.now += 0.5
        work.answered()
    admission.begin()
    admission.check(many_labels, 2.0)


def test_before_anything_was_answered_what_runs_counts_as_answered_now():
    """The first of a burst all come in. Where none was answered in time, the next must find a shorter queue."""
    clock = Clock()
    admission = OverloadGuard(60.0, 2, clock)
    for _ in range(10):
        admission.check(BUSY, 1.0)
        admission.begin()
    clock.now += 0.2
    admission.check(BUSY, 1.4)
    with pytest.raises(Overloaded):
        admission.check(BUSY, 1.3)


def test_a_server_that_answers_less_is_asked_for_less():
    """Answers in one burst, then none: after a while as many as fitted before do not any more."""
    clock = Clock()
    admission = OverloadGuard(60.0, clock=clock)
    works = [admission.begin() for _ in range(20)]
    admission.check(BUSY, None)
    clock.now += 1.0
    for work in works[:10]:
        work.answered()
    admission.check(BUSY, 1.5)
    clock.now += 10.0
    with pytest.raises(Overloaded):
        admission.check(BUSY, 5.0)


def test_a_request_ends_once():
    """However often it is told."""
    admission = OverloadGuard()
    work = admission.begin()
    work.answered()
    work.given_up()
    work.answered()
    assert admission._num_open == 0


@pytest.mark.parametrize("path", BODIES)
async def test_an_overloaded_server_refuses_before_it_computes(services, engine, path):
    """503, when to come again, and that it is worth trying."""
    async with client_of(with_parts(services, engine=BusyEngine(engine), overload=saturated(max_wait_s=1.0))) as client:
        response = await client.post(path, json=BODIES[path])
    assert (response.status_code, error_of(response)["code"]) == (503, "overloaded")
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("4", "true")
    assert not engine.requests


async def test_a_refusal_at_the_door_is_counted_and_only_for_a_key_that_may_ask(services, engine, store):
    """An unknown key learns nothing of the load: it gets 401, as from an idle server."""
    busy = with_parts(
        services,
        engine=BusyEngine(engine),
        overload=saturated(max_wait_s=1.0),
        keys=KeyRing(store, "sk-admin-key-0001"),
    )
    async with client_of(busy) as client:

        async def asked(key):
            headers = {"authorization": f"Bearer {key}"}
            return await client.post("/v1/completions", json=BODIES["/v1/completions"], headers=headers)

        assert (await asked("sk-unknown")).status_code == 401
        refused = await asked("sk-admin-key-0001")
        assert (refused.status_code, "x-request-id" in refused.headers) == (503, True)
    sample = 'softprompt_http_requests_total{code="overloaded",method="POST",route="/v1/completions",status="503"} 1.0'
    assert sample in generate_latest(busy.metrics._registry).decode()


async def test_what_is_refused_at_the_door_is_not_read(services, engine):
    """Whatever the body says: a flood's refusals must be cheap. A time that is none is refused as such."""
    async with client_of(with_parts(services, engine=BusyEngine(engine), overload=saturated())) as client:

        async def asked(timeout, body=b"{never"):
            headers = {"x-request-timeout-ms": timeout, "content-type": "application/json"}
            return await client.post("/v1/completions", content=body, headers=headers)

        assert error_of(await asked("6700"))["code"] == "overloaded"
        assert (await asked("7000")).status_code == 400
        assert error_of(await asked("9" * 5_000, b"{}"))["param"] == "x-request-timeout-ms"


@pytest.mark.parametrize("path", BODIES)
async def test_a_request_ends_at_its_deadline(client, engine, path):
    """The engine is told, and the client that it need not try again: nobody waits any more."""
    engine.gate.clear()
    response = await client.post(path, json=BODIES[path], headers={"x-request-timeout-ms": "30"})
    assert (response.status_code, error_of(response)["code"]) == (503, "deadline_exceeded")
    assert response.headers["x-should-retry"] == "false"
    await settled(engine)


async def test_a_stream_ends_at_its_deadline(client, engine):
    """With an event that says so."""
    engine.gate.clear()
    body = BODIES["/v1/completions"] | {"stream": True}
    response = await client.post("/v1/completions", json=body, headers={"x-request-timeout-ms": "30"})
    assert response.status_code == 200
    assert events_of(response.text)[-1]["error"]["code"] == "deadline_exceeded"
    await settled(engine)


async def test_in_time_nothing_is_different(client):
    """A deadline that is far away changes nothing."""
    for path, body in BODIES.items():
        response = await client.post(path, json=body, headers={"x-request-timeout-ms": "60000"})
        assert response.status_code == 200


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "1.5", "86400001"])
async def test_a_timeout_that_is_none_is_refused(client, timeout):
    """By its name."""
    response = await client.post(
        "/v1/completions", json=BODIES["/v1/completions"], headers={"x-request-timeout-ms": timeout}
    )
    assert (response.status_code, error_of(response)["param"]) == (400, "x-request-timeout-ms")


@pytest.mark.parametrize("path", BODIES)
async def test_priority_is_bounded_by_the_key(services, engine, path):
    """What it may not ask for is refused; what it does not say is the best that it may have, but not before others."""
    store = services.store_access.store
    secrets = {
        best: store.create_key(KeyGrant(f"k{best}", frozenset({"infer"}), best_priority=best)).secret
        for best in (-5, 0, 7)
    }
    async with client_of(with_parts(services, keys=KeyRing(store))) as client:

        async def asked(best, priority=None):
            body = BODIES[path] if priority is None else BODIES[path] | {"priority": priority}
            return await client.post(path, json=body, headers={"authorization": f"Bearer {secrets[best]}"})

        for best, priority in ((-5, -6), (0, -1), (7, 6)):
            response = await asked(best, priority)
            assert (response.status_code, error_of(response)["code"]) == (403, "priority_not_allowed")
        assert not engine.requests
        for best, priority, given in ((-5, -5, -5), (-5, None, 0), (0, 100, 100), (7, None, 7)):
            assert (await asked(best, priority)).status_code == 200
            assert engine.requests[-1].priority == given
        assert (await asked(0, 101)).status_code == 400


async def settled(engine):
    async with asyncio.timeout(30):
        while engine.unfinished:
            await asyncio.sleep(0.001)
