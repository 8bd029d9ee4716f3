"""Limit of concurrent requests per key, shared through Redis: each running request holds one slot.

A caller's slots are a sorted set, ordered by the time at which each expires. A server renews its slots, so that those
of a dead server expire by themselves.
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
_RENEWALS_PER_LEASE = 3

# Redis runs a script atomically, with its own clock. KEYS: the caller's slots. ARGV: this slot, seconds, maximum.
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
class Slot:
    """The slot of one running request. `key` is the caller's set in Redis."""

    key: str
    member: str


class SharedSlots:
    """Takes and releases slots. Belongs to the event loop. Needs the extra `redis`.

    `away` is the exception class that is raised if Redis does not answer.
    """

    def __init__(self, pool: Any) -> None:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self.away: type[Exception] = RedisError
        self._redis: Any = Redis(connection_pool=pool)
        self._script_take = self._redis.register_script(_TAKE)
        self._script_renew = self._redis.register_script(_RENEW)
        self._held: set[Slot] = set()
        self._releases: set[asyncio.Task[None]] = set()

    async def take(self, caller: str, max_slots: int) -> Slot | None:
        """Take a slot; None if all are taken. Raises `away`."""
        slot = Slot(f"softprompt:running:{caller}", uuid.uuid4().hex)
        if not await self._script_take(keys=[slot.key], args=[slot.member, LEASE_S, max_slots]):
            return None
        self._held.add(slot)
        return slot

    async def renew(self) -> None:
        """Renew every held slot. Raises `away`."""
        for slot in tuple(self._held):
            await self._script_renew(keys=[slot.key], args=[slot.member, LEASE_S])

    def release(self, slot: Slot) -> None:
        """Release a slot in the background. If Redis does not answer, the slot expires instead."""
        self._held.discard(slot)
        task = asyncio.create_task(self._remove(slot))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew the held slots while the context is open; then finish the pending releases."""
        try:
            async with background_task(self._renew_repeatedly(), "concurrency"):
                yield
        finally:
            await asyncio.gather(*self._releases)

    async def _remove(self, slot: Slot) -> None:
        with suppress(self.away):
            await self._redis.zrem(slot.key, slot.member)

    async def _renew_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / _RENEWALS_PER_LEASE)
            try:
                await self.renew()
            except Exception:  # an error must not end the renewals, or slots of running requests expire
                _log.warning("running requests could not be renewed in Redis", exc_info=True)
