"""Requests at once, over all servers of one Redis: each that runs holds a place there.

A caller's places are a sorted set, by the second at which each lapses. Servers renew what they hold, so that those of a
server that died come free by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from server.background_task import background_task

LEASE_S = 30
_RENEWALS_A_LEASE = 3

# Redis runs a script as one step, by its own clock. KEYS: the caller's places. ARGV: this place, seconds, most places.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000))
return 1
"""
_RENEW = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', time[1] + time[2] / 1000000 + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000))
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One request's place among those of its caller; `key` is the caller's set in Redis."""

    key: str
    member: str


class Places:
    """Takes and gives back places. Belongs to the event loop. Needs the extra `redis`.

    `away` is what is raised where Redis does not answer.
    """

    def __init__(self, pool: Any) -> None:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self.away: type[Exception] = RedisError
        self._redis: Any = Redis(connection_pool=pool)
        self._script_take = self._redis.register_script(_TAKE)
        self._script_renew = self._redis.register_script(_RENEW)
        self._held: set[Place] = set()
        self._given_back: set[asyncio.Task[None]] = set()

    async def take(self, caller: str, max_places: int) -> Place | None:
        """A place, or None where all are taken. Raises `away`."""
        place = Place(f"softprompt:running:{caller}", uuid.uuid4().hex)
        if not await self._script_take(keys=[place.key], args=[place.member, LEASE_S, max_places]):
            return None
        self._held.add(place)
        return place

    async def renew(self) -> None:
        """Renew every place that is held. Raises `away`."""
        for place in tuple(self._held):
            await self._script_renew(keys=[place.key], args=[place.member, LEASE_S])

    def give_back(self, place: Place) -> None:
        """Give a place back soon; where Redis is away, it lapses."""
        self._held.discard(place)
        task = asyncio.create_task(self._remove(place))
        self._given_back.add(task)
        task.add_done_callback(self._given_back.discard)

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew what is held while the context is open; then finish what is being given back."""
        try:
            async with background_task(self._renew_repeatedly(), "concurrency"):
                yield
        finally:
            await asyncio.gather(*self._given_back)

    async def _remove(self, place: Place) -> None:
        with suppress(self.away):
            await self._redis.zrem(place.key, place.member)

    async def _renew_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / _RENEWALS_A_LEASE)
            try:
                await self.renew()
            except Exception:  # whatever one round meets, the next must come, or places of running requests lapse
                _log.warning("running requests could not be renewed in Redis", exc_info=True)
