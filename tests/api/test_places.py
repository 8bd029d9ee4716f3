"""Places of running requests in Redis: of a server that dies they lapse, of one that lives they do not."""

import uuid

import pytest

from server.api.access.concurrency import Places
from server.api.access.quotas import redis_pool


@pytest.fixture
async def places(redis_url):
    """Two servers' places."""
    pools = [redis_pool(redis_url) for _ in range(2)]
    yield [Places(pool) for pool in pools]
    for pool in pools:
        await pool.aclose()


@pytest.fixture
def who():
    """A caller whom nobody else is."""
    return f"key:{uuid.uuid4().hex}"


async def make_older(places, place):
    """As if so much time had passed that the place lapses, unless it is renewed."""
    await places._redis.zadd(place.key, {place.member: 1.0})


async def test_what_a_dead_server_held_comes_free(places, who):
    one, other = places
    await make_older(one, await one.take(who, 1))
    assert await other.take(who, 1) is not None


async def test_what_a_living_server_holds_is_kept(places, who):
    one, other = places
    place = await one.take(who, 1)
    await make_older(one, place)
    await one.renew()
    assert await other.take(who, 1) is None


async def test_what_was_given_back_is_not_renewed(places, who):
    """Also if it was being renewed at that moment."""
    one, other = places
    place = await one.take(who, 1)
    async with one.renewing():
        one.give_back(place)
    one._held.add(place)
    await one.renew()
    assert await other.take(who, 1) is not None


async def test_nothing_is_left_in_redis(places, who):
    """Callers who have gone take no memory there."""
    one, _ = places
    place = await one.take(who, 1)
    assert 0 < await one._redis.pttl(place.key) <= 30_000
    async with one.renewing():
        one.give_back(place)
    assert await one._redis.exists(place.key) == 0
