"""Quotas of a key: requests per minute, tokens per minute, concurrent requests.

A window is one minute from the first use, with one counter per key, in memory or in Redis. At a window's edge, a key
may use twice its limit in a short time. Prompt tokens are counted before they are computed, generated tokens after. So
a key may exceed its limit by the tokens that its running requests generate. With Redis, servers count together. While
Redis is unreachable, each server counts alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from prompts_store.keys import KeyLimits
from server.api.access.caller import Caller
from server.api.access.concurrency import SharedSlots, Slot
from server.api.errors import QuotaTooSmall, RateLimited

_REQUESTS, _TOKENS = "requests", "tokens"
_REDIS_TIMEOUT_S = 1.0
_RETRY_REDIS_S = 5.0

_MAX_REDIS_CONNECTIONS = 16

_log = logging.getLogger(__name__)


class RedisMissing(Exception):
    """Redis is configured, but its driver is not installed."""


class Quotas:
    """Counts each caller's use. `defaults` apply to keys without limits of their own. Belongs to the event loop."""

    def __init__(self, defaults: KeyLimits = KeyLimits(), redis_url: str | None = None) -> None:  # noqa: B008  (frozen)
        self._defaults = defaults
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._redis = None if redis_url is None else redis_pool(redis_url)
        self._together = None if redis_url is None else FixedWindowRateLimiter(_redis_storage(redis_url, self._redis))
        self._slots = None if self._redis is None else SharedSlots(self._redis)
        self._redis_is_away_until = 0.0
        self._num_running: Counter[str] = Counter()
        self._charges: set[asyncio.Task[bool]] = set()

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Count while the context is open; then finish pending counts and close the connections to Redis."""
        async with AsyncExitStack() as stack:
            if self._redis is not None:
                stack.push_async_callback(self._redis.aclose)
            if self._slots is not None:
                await stack.enter_async_context(self._slots.renewing())
            yield
            await asyncio.gather(*self._charges)

    @asynccontextmanager
    async def request(self, caller: Caller) -> AsyncIterator[None]:
        """Count a request from its beginning to its end. Raises `RateLimited`."""
        limits = self.limits_of(caller)
        if limits.max_concurrent is not None and self._num_running[caller.actor] >= limits.max_concurrent:
            raise _too_many_at_once(limits.max_concurrent)
        self._num_running[caller.actor] += 1  # before the first await, so that no other request passes meanwhile
        slot = None
        try:
            slot = await self._take_slot(caller, limits.max_concurrent)
            await self._take(_REQUESTS, caller, limits.max_requests_per_minute, 1)
            yield
        finally:
            if slot is not None and self._slots is not None:
                self._slots.release(slot)
            self._num_running[caller.actor] -= 1
            if not self._num_running[caller.actor]:
                del self._num_running[caller.actor]

    async def take_tokens(self, caller: Caller, num_tokens: int) -> None:
        """Count tokens before they are computed. Raises `RateLimited`, or `QuotaTooSmall` if they can never fit."""
        limit = self.limits_of(caller).max_tokens_per_minute
        if limit is not None and num_tokens > limit:
            raise QuotaTooSmall(
                f"the prompts have {num_tokens} tokens; the API key may use {limit} tokens per minute: send shorter or "
                "fewer prompts, or use a key with a higher limit"
            )
        await self._take(_TOKENS, caller, limit, num_tokens)

    def charge_tokens(self, caller: Caller, num_tokens: int) -> None:
        """Count generated tokens, even beyond the limit."""
        limit = self.limits_of(caller).max_tokens_per_minute
        if limit is not None and num_tokens:
            charge = asyncio.create_task(self._hit(RateLimitItemPerMinute(limit), caller, _TOKENS, num_tokens))
            self._charges.add(charge)
            charge.add_done_callback(self._charges.discard)

    def limits_of(self, caller: Caller) -> KeyLimits:
        """The key's own limits, else the server's. None means unlimited, and the admin key has none."""
        own, default = caller.limits, self._defaults
        if own is None:
            return KeyLimits()
        return KeyLimits(
            own.max_requests_per_minute or default.max_requests_per_minute,
            own.max_tokens_per_minute or default.max_tokens_per_minute,
            own.max_concurrent or default.max_concurrent,
        )

    async def _take_slot(self, caller: Caller, limit: int | None) -> Slot | None:
        """A slot among the caller's requests on all servers; None without a limit or without Redis."""
        if limit is None or self._slots is None or self._limiter is self._alone:
            return None
        try:
            slot = await self._slots.take(caller.actor, limit)
        except self._slots.away:
            self._leave_redis()
            return None
        if slot is None:
            raise _too_many_at_once(limit)
        return slot

    async def _take(self, what: str, caller: Caller, limit: int | None, cost: int) -> None:
        if limit is None:
            return
        item = RateLimitItemPerMinute(limit)
        limiter = self._limiter
        try:
            # Test first, so that a refused request uses no quota; `hit` decides in a race.
            has_room = await limiter.test(item, caller.actor, what, cost=cost)
            has_room = has_room and await limiter.hit(item, caller.actor, what, cost=cost)
            reset_at = None if has_room else (await limiter.get_window_stats(item, caller.actor, what)).reset_time
        except StorageError:
            self._leave_redis()
            return await self._take(what, caller, limit, cost)
        if reset_at is not None:
            retry_after_s = max(1, round(reset_at - time.time()))
            message = f"the API key may use {limit} {what} per minute; retry in {retry_after_s} s"
            raise RateLimited(message, code=f"{what}_per_minute_exceeded", retry_after_s=retry_after_s)

    async def _hit(self, item: RateLimitItemPerMinute, caller: Caller, what: str, cost: int) -> bool:
        try:
            return await self._limiter.hit(item, caller.actor, what, cost=cost)
        except StorageError:
            self._leave_redis()
            return await self._alone.hit(item, caller.actor, what, cost=cost)

    @property
    def _limiter(self) -> FixedWindowRateLimiter:
        if self._together is None or time.monotonic() < self._redis_is_away_until:
            return self._alone
        return self._together

    def _leave_redis(self) -> None:
        """Count alone for `_RETRY_REDIS_S`, so that not every request waits for a Redis that does not answer."""
        _log.warning("the limits' Redis cannot be reached; this server counts alone", exc_info=True)
        self._redis_is_away_until = time.monotonic() + _RETRY_REDIS_S


def _too_many_at_once(limit: int) -> RateLimited:
    message = f"the API key may have {limit} requests running at once; retry when one has ended"
    return RateLimited(message, code="too_many_concurrent_requests")


def redis_pool(url: str) -> Any:
    """A pool of connections that we close ourselves. Raises `RedisMissing` without the extra."""
    try:
        from redis.asyncio import BlockingConnectionPool
    except ImportError as error:
        message = "--redis-url needs a driver; install it with: pip install 'softprompt-server[redis]'"
        raise RedisMissing(message) from error
    return BlockingConnectionPool.from_url(
        url,
        max_connections=_MAX_REDIS_CONNECTIONS,
        timeout=_REDIS_TIMEOUT_S,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
    )


def _redis_storage(url: str, pool: Any) -> RedisStorage:
    return RedisStorage(f"async+{url}", wrap_exceptions=True, implementation="redispy", connection_pool=pool)
