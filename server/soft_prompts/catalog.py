"""Which version answers a task reference: known ones from memory, kept true by following the store's changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from prompts_store.errors import NotFound, StoreError, StoreUnavailable
from prompts_store.names import TaskReference
from prompts_store.records import BaseModel, EnsembleMember, Resolution, VersionRecord
from prompts_store.store import Store
from prompts_store.targets import choose_version
from server.background_task import background_task
from server.model.prefix import Prefix, prefix_of
from server.soft_prompts.missing import MissingNames
from server.soft_prompts.prefix_cache import PrefixCache
from server.threads import Threads

_POLL_INTERVAL_S = 0.5
_MAX_CACHED_BYTES = 1024**3
_NUM_CHANGES_PER_READ = 1_000
_MAX_LOOK_UPS = 4
_MAX_LOOK_UPS_AT_ONCE = 4

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """What a request keeps until its end: the version that it was resolved to, and the tensors of it.

    `prefixes` is one, or of an ensemble one a member, in its order. `shadow` is the version to be run for comparison,
    if the alias has one.
    """

    record: VersionRecord
    prefixes: tuple[Prefix, ...]
    shadow: VersionRecord | None = None


class TaskCatalog:
    """Resolves task references for one base model. All methods belong to the event loop; SQL runs in threads.

    A reference once resolved is known: it is answered from memory, moved when the store's change feed says so, and kept
    while the store is away. What is not in the store is remembered as missing for a second at most.
    `poll_interval_s` is the longest that the follower waits without asking the store, and how soon it tries again when
    the store is away; a change is noticed sooner. `max_cached_bytes` bounds the tensors in host memory, without those
    that requests hold; those that no known reference means any more are let go at once.
    """

    def __init__(
        self,
        store: Store,
        base: BaseModel,
        *,
        poll_interval_s: float = _POLL_INTERVAL_S,
        max_cached_bytes: int = _MAX_CACHED_BYTES,
    ) -> None:
        self._store = store
        self._base = base
        self._poll_interval_s = poll_interval_s
        self._known: dict[TaskReference, Resolution] = {}
        self._missing = MissingNames()
        self._look_ups: dict[TaskReference, asyncio.Task[Resolution]] = {}
        self._threads = Threads("catalog", _MAX_LOOK_UPS_AT_ONCE + 1)  # one more: a refresh waits for no look-up
        self._look_up_turns = asyncio.Semaphore(_MAX_LOOK_UPS_AT_ONCE)
        self._prefixes = PrefixCache(max_cached_bytes)
        self._loads: dict[tuple[str, int], asyncio.Task[Prefix]] = {}
        self._applied: int | None = None
        self._seen: int | None = None
        self._refreshed_at: float | None = None
        self._refreshing = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None
        self.store_is_reachable = True

    async def resolve(self, reference: TaskReference, sticky_key: bytes | None = None) -> ServedVersion:
        """The version that a reference means now, with its tensors; of several, the one for this key or any by weight.

        Raises `NotFound`, or `StoreUnavailable` for what is not known while the store is away.
        """
        resolution = self._known.get(reference)
        if resolution is None:
            if missing := self._missing.get(reference):
                raise missing
            resolution = await _shared(self._look_ups, reference, lambda: self._look_up(reference))
        record = choose_version(resolution, sticky_key)
        return ServedVersion(record, await self.prefixes(record), resolution.shadow)

    async def prefixes(self, record: VersionRecord) -> tuple[Prefix, ...]:
        """The tensors of a version, or of an ensemble's members. Raises what `Store.load_content` raises."""
        return tuple([await self._prefix_of(record, part) for part in record.parts])

    async def refresh(self) -> None:
        """Take over every change that is committed by now. Raises `StoreUnavailable`."""
        async with self._refreshing:
            began = time.monotonic()
            if self._applied is None:
                self._applied = self._seen = await self._threads.run(self._store.revision)
            while changes := await self._threads.run(self._store.changes_since, self._applied, _NUM_CHANGES_PER_READ):
                self._seen = changes[-1].id
                touched = {change.task for change in changes if change.fingerprint == self._base.fingerprint}
                self._missing.forget(touched)
                stale = {reference: found for reference, found in self._known.items() if reference.task in touched}
                try:
                    for reference in stale:
                        await self._renew(reference)
                finally:  # those renewed before the store went away are not stale the next time
                    now = [self._known[reference] for reference in stale if reference in self._known]
                    self._drop_unless_known(_digests(stale.values()) - _digests(now))
                self._applied = self._seen
            self._refreshed_at = began

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the store's changes in the background while the context is open."""
        await self._try_refresh()
        # A thread of its own: it mostly waits, and must end before the store is closed.
        with ThreadPoolExecutor(1, thread_name_prefix="catalog-follower") as thread:
            try:
                async with background_task(self._follow(thread), "catalog-follower") as self._follower:
                    yield
            finally:
                self._threads.close()

    @property
    def is_following(self) -> bool:
        """Whether changes are being followed, be the store reachable or not."""
        return self._follower is not None and not self._follower.done()

    @property
    def state_age_s(self) -> float | None:
        """Seconds since the store was last seen, by whose state references are answered; None before the first time."""
        return None if self._refreshed_at is None else time.monotonic() - self._refreshed_at

    async def _follow(self, thread: ThreadPoolExecutor) -> None:
        while True:
            if self.store_is_reachable and self._applied is not None:
                await self._wait(thread, self._applied)
            else:
                await asyncio.sleep(self._poll_interval_s)
            await self._try_refresh()

    async def _wait(self, thread: ThreadPoolExecutor, revision: int) -> None:
        """Wait for a change after a revision; where the store cannot say, for the time alone."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(thread, self._store.wait_for_changes, revision, self._poll_interval_s)
        except Exception:  # whatever it meets, the next round must come, and will say so if it meets it too
            _log.debug("no change can be waited for; looking again instead", exc_info=True)
            await asyncio.sleep(self._poll_interval_s)

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
        except Exception:  # whatever one round meets, the next must come: a follower that has died serves old versions
            if self.store_is_reachable:
                _log.warning("the store cannot be followed; known tasks keep answering", exc_info=True)
            self.store_is_reachable = False
        else:
            if not self.store_is_reachable:
                _log.info("the store is followed again")
            self.store_is_reachable = True

    async def _look_up(self, reference: TaskReference) -> Resolution:
        """Ask the store. A change seen in the meantime may have moved the reference after it was read: ask again."""
        if not self.store_is_reachable and self._look_up_turns.locked():
            raise StoreUnavailable("The store does not answer the look-ups before this one.")
        for attempt in range(1, _MAX_LOOK_UPS + 1):
            seen = self._seen
            try:
                async with self._look_up_turns:
                    found = await self._read_all(reference)
            except NotFound as error:
                if seen == self._seen and seen is not None:
                    self._missing.add(reference, error)
                if seen == self._seen or attempt == _MAX_LOOK_UPS:
                    raise
                continue
            if seen == self._seen:
                if seen is not None:
                    self._known[reference] = found
                break
        return found

    async def _renew(self, reference: TaskReference) -> None:
        """Resolve a known reference again."""
        try:
            found = await self._read_all(reference)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if not isinstance(error, NotFound):
                _log.exception("task %s cannot be served", reference)
            del self._known[reference]
        else:
            self._known[reference] = found

    async def _read_all(self, reference: TaskReference) -> Resolution:
        """What a reference means; the tensors of all its versions are in memory before it becomes known."""
        found = await self._threads.run(self._store.resolve_all, self._base.fingerprint, reference)
        for record in found.versions:
            await self.prefixes(record)
        return found

    def _drop_unless_known(self, digests: set[str]) -> None:
        """Let go of tensors that no known reference means any more: else every version ever promoted would stay."""
        if digests:
            self._prefixes.drop(digests - _digests(self._known.values()))

    async def _prefix_of(self, record: VersionRecord, part: EnsembleMember) -> Prefix:
        if prefix := self._prefixes.get(part.prefix_digest):
            return prefix
        # Not by the digest: another task with the same tensors must not fail with this one.
        return await _shared(self._loads, (record.task, part.version), lambda: self._load(record.task, part.version))

    async def _load(self, task: str, version: int) -> Prefix:
        prefix = await self._threads.run(self._read, task, version)
        self._prefixes.put(prefix)
        return prefix

    def _read(self, task: str, version: int) -> Prefix:
        # A version retired since it was resolved still answers the requests that hold it.
        return prefix_of(self._store.load_content(self._base.fingerprint, task, version, include_retired=True).prefix)


def _digests(resolutions: Iterable[Resolution]) -> set[str]:
    """The digests of all tensors by which these answer, shadows included."""
    found = set()
    for resolution in resolutions:
        for record in (*resolution.versions, resolution.shadow):
            if record is not None:
                found |= {part.prefix_digest for part in record.parts}
    return found


async def _shared(
    running: dict[_Key, asyncio.Task[_Result]], key: _Key, begin: Callable[[], Coroutine[Any, Any, _Result]]
) -> _Result:
    """Wait for what others may be waiting for already; whoever goes away does not cancel it for the others."""
    task = running.get(key)
    if task is None:
        task = running[key] = asyncio.create_task(begin())

        def finish(done: asyncio.Task[_Result]) -> None:
            del running[key]
            if not done.cancelled():
                done.exception()  # seen, also where everybody has gone away

        task.add_done_callback(finish)
    return await asyncio.shield(task)
