"""Slots of running requests in Redis: those of a dead server expire, those of a living one do not."""

import uuid

import pytest

from server.api.access.concurrency import SharedSlots
from server.api.access.quotas import redis_pool


@pytest.fixture
async def slots(redis_url):
    """Two servers' slots."""
    pools = [redis_pool(redis_url) for _ in range(2)]
    yield [SharedSlots(pool) for pool in pools]
    for pool in pools:
        await pool.aclose()


@pytest.fixture
def who():
    """A caller whom nobody else is."""
    return f"key:{uuid.uuid4().hex}"


async def make_older(slots, slot):
    """As if so much time had passed that the slot lapses, unless it is renewed."""
    await slots._redis.zadd(slot.key, {slot.member: 1.0})


async def test_what_a_dead_server_held_comes_free(slots, who):
    one, other = slots
    await make_older(one, await one.take(who, 1))
    assert await other.take(who, 1) is not None


async def test_what_a_living_server_holds_is_kept(slots, who):
    one, other = slots
    slot = await one.take(who, 1)
    await make_older(one, slot)
    await one.renew()
    assert await other.take(who, 1) is None


async def test_what_was_given_back_is_not_renewed(slots, who):
    """Also if it was being renewed at that moment."""
    one, other = slots
    slot = await one.take(who, 1)
    async with one.renewing():
        one.release(slot)
    one._held.add(slot)
    await one.renew()
    assert await other.take(who, 1) is not None


async def test_nothing_is_left_in_redis(slots, who):
    """Callers who have gone take no memory there."""
    one, _ = slots
    slot = await one.take(who, 1)
    assert 0 < await one._redis.pttl(slot.key) <= 30_000
    async with one.renewing():
        one.release(slot)
    assert await one._redis.exists(slot.key) == 0
