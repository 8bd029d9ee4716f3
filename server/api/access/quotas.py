"""What one key may use: requests and tokens a minute, requests at once.

A window is a minute that begins with the first use: one counter a key, the same in memory and in Redis. At a window's
edge a key may use twice its limit in a short time. Prompts are counted before they are computed, and what is generated
when it has been: a key may run over by what its running requests generate. With Redis, servers count together; while it
is away each counts alone.
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
from server.api.access.concurrency import Place, Places
from server.api.errors import QuotaTooSmall, RateLimited

_REQUESTS, _TOKENS = "requests", "tokens"
_REDIS_TIMEOUT_S = 1.0
_RETRY_REDIS_S = 5.0

_MAX_REDIS_CONNECTIONS = 16

_log = logging.getLogger(__name__)


class RedisMissing(Exception):
    """Redis is asked for, and its driver is not installed."""


class Quotas:
    """Counts what every caller uses. `defaults` hold for callers whose key says nothing. Belongs to the event loop."""

    def __init__(self, defaults: KeyLimits = KeyLimits(), redis_url: str | None = None) -> None:  # noqa: B008  (frozen)
        self._defaults = defaults
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._redis = None if redis_url is None else redis_pool(redis_url)
        self._together = None if redis_url is None else FixedWindowRateLimiter(_redis_storage(redis_url, self._redis))
        self._places = None if self._redis is None else Places(self._redis)
        self._redis_is_away_until = 0.0
        self._num_running: Counter[str] = Counter()
        self._charges: set[asyncio.Task[bool]] = set()

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Count while the context is open; then finish what is being counted and let go of Redis."""
        async with AsyncExitStack() as stack:
            if self._redis is not None:
                stack.push_async_callback(self._redis.aclose)
            if self._places is not None:
                await stack.enter_async_context(self._places.renewing())
            yield
            await asyncio.gather(*self._charges)

    @asynccontextmanager
    async def request(self, caller: Caller) -> AsyncIterator[None]:
        """Count a request from its beginning to its end. Raises `RateLimited`."""
        limits = self._limits_of(caller)
        if limits.max_concurrent is not None and self._num_running[caller.actor] >= limits.max_concurrent:
            raise _too_many_at_once()
        self._num_running[caller.actor] += 1  # before anything is waited for, so that none slips in meanwhile
        place = None
        try:
            place = await self._take_place(caller, limits.max_concurrent)
            await self._take(_REQUESTS, caller, limits.max_requests_per_minute, 1)
            yield
        finally:
            if place is not None and self._places is not None:
                self._places.give_back(place)
            self._num_running[caller.actor] -= 1
            if not self._num_running[caller.actor]:
                del self._num_running[caller.actor]

    async def take_tokens(self, caller: Caller, num_tokens: int) -> None:
        """Count tokens that are about to be computed. Raises `RateLimited`, or `QuotaTooSmall` for too many ever."""
        limit = self._limits_of(caller).max_tokens_per_minute
        if limit is not None and num_tokens > limit:
            raise QuotaTooSmall(
                f"the prompts have {num_tokens} tokens and the API key may use {limit} tokens per minute, so they "
                "never fit; send shorter or fewer prompts at once, or use a key with a higher limit"
            )
        await self._take(_TOKENS, caller, limit, num_tokens)

    def charge_tokens(self, caller: Caller, num_tokens: int) -> None:
        """Count tokens that have been generated, whether or not the limit had room for them."""
        limit = self._limits_of(caller).max_tokens_per_minute
        if limit is not None and num_tokens:
            charge = asyncio.create_task(self._hit(RateLimitItemPerMinute(limit), caller, _TOKENS, num_tokens))
            self._charges.add(charge)
            charge.add_done_callback(self._charges.discard)

    def _limits_of(self, caller: Caller) -> KeyLimits:
        """The key's own limits, else the server's; none for whom nothing is limited."""
        own, default = caller.limits, self._defaults
        if own is None:
            return KeyLimits()
        return KeyLimits(
            own.max_requests_per_minute or default.max_requests_per_minute,
            own.max_tokens_per_minute or default.max_tokens_per_minute,
            own.max_concurrent or default.max_concurrent,
        )

    async def _take_place(self, caller: Caller, limit: int | None) -> Place | None:
        """A place among the caller's requests on all servers; None where there is nothing to share."""
        if limit is None or self._places is None or self._limiter is self._alone:
            return None
        try:
            place = await self._places.take(caller.actor, limit)
        except self._places.away:
            self._leave_redis()
            return None
        if place is None:
            raise _too_many_at_once()
        return place

    async def _take(self, what: str, caller: Caller, limit: int | None, cost: int) -> None:
        if limit is None:
            return
        item = RateLimitItemPerMinute(limit)
        limiter = self._limiter
        try:
            # What is too much is not counted, as far as that can be known; only counting itself is sure.
            has_room = await limiter.test(item, caller.actor, what, cost=cost)
            has_room = has_room and await limiter.hit(item, caller.actor, what, cost=cost)
            reset_at = None if has_room else (await limiter.get_window_stats(item, caller.actor, what)).reset_time
        except StorageError:
            self._leave_redis()
            return await self._take(what, caller, limit, cost)
        if reset_at is not None:
            retry_after_s = max(1, round(reset_at - time.time()))
            message = f"the API key has used its {limit} {what} of this minute"
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
        """Count alone for a while, so that not every request waits for a Redis that does not answer."""
        _log.warning("the limits' Redis cannot be reached; this server counts alone", exc_info=True)
        self._redis_is_away_until = time.monotonic() + _RETRY_REDIS_S


def _too_many_at_once() -> RateLimited:
    return RateLimited("the API key has too many requests running", code="too_many_concurrent_requests")


def redis_pool(url: str) -> Any:
    """Connections of our own, so that they can be closed. Raises `RedisMissing` without the extra."""
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
