"""One follower of the store's changes: it reads each change once, for everything that answers from memory."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Event
from typing import ParamSpec, Protocol, TypeVar

from prompts_store.records import Change
from prompts_store.store import Store
from server.background_task import background_task, uninterrupted
from server.threads import Threads

_POLL_INTERVAL_S = 0.5
_NUM_CHANGES_PER_READ = 1_000

_P = ParamSpec("_P")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class Subscriber(Protocol):
    """A copy of something in the store, kept in memory. Both methods run on the event loop."""

    def note(self, changes: Sequence[Change]) -> None:
        """Mark as stale what the changes touch. Reads nothing and raises nothing."""

    async def catch_up(self) -> None:
        """Read again what is stale. What fails stays stale, and the next call tries it again. Calls do not overlap.

        The first call says that the follower has begun: `note` gets every change from then on.
        """


@dataclass(slots=True, eq=False)
class _Subscription:
    """A subscriber, what its last catch-up raised, and the catch-up that runs now."""

    subscriber: Subscriber
    failure: Exception | None = None
    running: asyncio.Task[None] | None = None

    def catching_up(self) -> asyncio.Task[None]:
        """The catch-up that runs, or a new one. A running one also reads what was noted since it began."""
        if self.running is None or self.running.done():
            self.running = asyncio.create_task(self._catch_up())
        return self.running

    async def _catch_up(self) -> None:
        try:
            await self.subscriber.catch_up()
        except Exception as error:  # the round reports it, and the others go on
            self.failure = error
        else:
            self.failure = None


class StoreFollower:
    """Follows the change feed of one store for its subscribers. All methods belong to the event loop.

    A change wakes the follower. `poll_interval_s` is the longest that it waits without asking the store, and how soon
    it tries again after a failure. Each subscriber catches up in a task of its own: one that fails, or takes longer
    than the poll interval, does not hold up the others. `clock` and `sleep` are for tests.
    """

    def __init__(
        self,
        store: Store,
        *,
        poll_interval_s: float = _POLL_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._poll_interval_s = poll_interval_s
        self._clock = clock
        self._sleep = sleep
        self._threads = Threads("store-follower", 1)
        self._subscriptions: list[_Subscription] = []
        self._reading = asyncio.Lock()
        self._revision: int | None = None
        self._refreshed_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.store_is_reachable = True

    def subscribe(self, subscriber: Subscriber) -> None:
        """Hand every change from now on to a subscriber. A second call for the same one does nothing."""
        if all(subscriber is not known.subscriber for known in self._subscriptions):
            self._subscriptions.append(_Subscription(subscriber))

    async def refresh(self) -> None:
        """Take over every change that is committed by now. Returns once each subscriber has caught up or failed.

        Raises `StoreUnavailable`, and the first failure of a subscriber.
        """
        seen_at = await self._read_changes()
        await self._catch_up(timeout_s=None)
        self._refreshed_at = seen_at

    async def follow_once(self) -> None:
        """Make one round. A failure is logged when an outage begins, and not raised: the next round must come."""
        try:
            seen_at = await self._read_changes()
            if await self._catch_up(self._poll_interval_s):
                self._refreshed_at = seen_at
        except Exception:  # a follower that has ended serves old versions and lets revoked keys in
            if self.store_is_reachable:
                _log.warning("the store cannot be followed; known tasks and keys stay as they are", exc_info=True)
            self.store_is_reachable = False
        else:
            if not self.store_is_reachable:
                _log.info("the store is followed again")
            self.store_is_reachable = True

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the store in the background while the context is open."""
        await self.follow_once()
        # A thread of its own: it mostly waits, and must end before the store is closed.
        stop = Event()
        with ThreadPoolExecutor(1, thread_name_prefix="store-follower-wait") as thread:
            try:
                async with background_task(self._follow(thread, stop), "store-follower") as self._task:
                    yield
            finally:
                stop.set()
                await self._end_catch_ups()
                self._threads.close()

    @property
    def is_following(self) -> bool:
        """Whether changes are being followed, be the store reachable or not."""
        return self._task is not None and not self._task.done()

    @property
    def state_age_s(self) -> float | None:
        """Seconds since the state of the store that every subscriber has; None before the first one."""
        return None if self._refreshed_at is None else self._clock() - self._refreshed_at

    async def _follow(self, thread: ThreadPoolExecutor, stop: Event) -> None:
        while True:
            if self.store_is_reachable and self._revision is not None:
                await self._wait(thread, stop, self._revision)
            else:
                await self._sleep(self._poll_interval_s)
            await self.follow_once()

    async def _wait(self, thread: ThreadPoolExecutor, stop: Event, revision: int) -> None:
        """Wait for a change after a revision, or for `stop`; where the store cannot say, for the time alone."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(thread, self._store.wait_for_changes, revision, self._poll_interval_s, stop)
        except Exception:  # the next round must come; it reports what it meets itself
            _log.debug("no change can be waited for; asking the store after a pause", exc_info=True)
            await self._sleep(self._poll_interval_s)

    async def _read_changes(self) -> float:
        """Hand all changes to the subscribers. Returns when the reading began, by the clock."""
        async with self._reading:
            began = self._clock()
            if self._revision is None:
                self._revision = await self._run(self._store.revision)
            while changes := await self._run(self._store.changes_since, self._revision, _NUM_CHANGES_PER_READ):
                for subscription in self._subscriptions:
                    subscription.subscriber.note(changes)
                self._revision = changes[-1].id
        return began

    async def _run(self, read: Callable[_P, _Result], *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        return await uninterrupted(self._threads.run(read, *args, **kwargs))

    async def _catch_up(self, timeout_s: float | None) -> bool:
        """Let all subscribers catch up; whether they have, in this time. Raises the first failure."""
        tasks = [subscription.catching_up() for subscription in self._subscriptions]
        late = (await asyncio.wait(tasks, timeout=timeout_s))[1] if tasks else set()
        for subscription in self._subscriptions:
            if subscription.failure is not None:
                raise subscription.failure
        return not late

    async def _end_catch_ups(self) -> None:
        tasks = [each.running for each in self._subscriptions if each.running is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
