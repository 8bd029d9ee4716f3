"""Which version answers a task reference: known ones from memory, kept true by following the store's changes."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import torch

from prompts_store.errors import NotFound, StoreError, StoreUnavailable
from prompts_store.names import TaskReference
from prompts_store.records import BaseModel, VersionRecord
from prompts_store.store import Store
from server.model.prefix import Prefix, PrefixKind

_POLL_INTERVAL_S = 0.2
_MAX_CACHED_BYTES = 1024**3
_NUM_CHANGES_PER_READ = 1_000
_MAX_LOOK_UPS = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """What a request keeps until its end: the version that it was resolved to, and the tensors of it."""

    record: VersionRecord
    prefix: Prefix


class TaskCatalog:
    """Resolves task references for one base model. All methods belong to the event loop; SQL runs in threads.

    A reference once resolved is known: it is answered from memory, moved when the store's change feed says so, and kept
    while the store is away. `max_cached_bytes` bounds the tensors in host memory, without those that requests hold.
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
        self._known: dict[TaskReference, VersionRecord] = {}
        self._prefixes = PrefixCache(max_cached_bytes)
        self._loads: dict[str, asyncio.Task[Prefix]] = {}
        self._applied: int | None = None
        self._seen: int | None = None
        self._refreshing = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None
        self.store_is_reachable = True

    async def resolve(self, reference: TaskReference) -> ServedVersion:
        """The version that a reference means now, with its tensors.

        Raises `NotFound`, or `StoreUnavailable` for what is not known while the store is away.
        """
        record = self._known.get(reference) or await self._look_up(reference)
        return ServedVersion(record, await self._prefix_of(record))

    async def refresh(self) -> None:
        """Take over every change that is committed by now. Raises `StoreUnavailable`."""
        async with self._refreshing:
            if self._applied is None:
                self._applied = self._seen = await asyncio.to_thread(self._store.revision)
            while changes := await asyncio.to_thread(self._store.changes_since, self._applied, _NUM_CHANGES_PER_READ):
                self._seen = changes[-1].id
                touched = {change.task for change in changes if change.fingerprint == self._base.fingerprint}
                for reference in [reference for reference in self._known if reference.task in touched]:
                    await self._renew(reference)
                self._applied = self._seen

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the store's changes in the background while the context is open."""
        await self._try_refresh()
        self._follower = asyncio.create_task(self._follow(), name="catalog-follower")
        try:
            yield
        finally:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower

    @property
    def is_following(self) -> bool:
        """Whether changes are being followed, be the store reachable or not."""
        return self._follower is not None and not self._follower.done()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            await self._try_refresh()

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
        except StoreError:
            if self.store_is_reachable:
                _log.warning("the store cannot be followed; known tasks keep answering", exc_info=True)
            self.store_is_reachable = False
        else:
            self.store_is_reachable = True

    async def _look_up(self, reference: TaskReference) -> VersionRecord:
        """Ask the store. A change seen in the meantime may have moved the reference after it was read: ask again."""
        for _ in range(_MAX_LOOK_UPS):
            seen = self._seen
            record = await asyncio.to_thread(self._store.resolve, self._base.fingerprint, reference)
            if seen == self._seen:
                if seen is not None:
                    self._known[reference] = record
                break
        return record

    async def _renew(self, reference: TaskReference) -> None:
        """Resolve a known reference again; the new version's tensors are in memory before it answers."""
        try:
            record = await asyncio.to_thread(self._store.resolve, self._base.fingerprint, reference)
            await self._prefix_of(record)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if not isinstance(error, NotFound):
                _log.exception("task %s cannot be served", reference)
            del self._known[reference]
        else:
            self._known[reference] = record

    async def _prefix_of(self, record: VersionRecord) -> Prefix:
        if prefix := self._prefixes.get(record.prefix_digest):
            return prefix
        load = self._loads.get(record.prefix_digest)
        if load is None:
            load = asyncio.create_task(self._load(record))
            self._loads[record.prefix_digest] = load
        # The load is shared: one waiting request that goes away must not cancel it for the others.
        return await asyncio.shield(load)

    async def _load(self, record: VersionRecord) -> Prefix:
        try:
            prefix = await asyncio.to_thread(self._read, record)
            self._prefixes.put(prefix)
            return prefix
        finally:
            del self._loads[record.prefix_digest]

    def _read(self, record: VersionRecord) -> Prefix:
        # A version retired since it was resolved still answers the requests that hold it.
        content = self._store.load_content(record.base_fingerprint, record.task, record.version, include_retired=True)
        resolved = content.prefix
        return Prefix(resolved.digest, PrefixKind(resolved.kind.value), torch.tensor(resolved.values))


class PrefixCache:
    """The prefixes used last, within a number of bytes. The latest one is kept even when it alone exceeds them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()

    def get(self, digest: str) -> Prefix | None:
        """The prefix of a digest, which thereby counts as used."""
        if digest in self._prefixes:
            self._prefixes.move_to_end(digest)
        return self._prefixes.get(digest)

    def put(self, prefix: Prefix) -> None:
        """Keep a prefix, dropping those unused for longest."""
        self._prefixes[prefix.digest] = prefix
        self._num_bytes += prefix.tensor.nbytes
        while self._num_bytes > self._max_bytes and len(self._prefixes) > 1:
            _, dropped = self._prefixes.popitem(last=False)
            self._num_bytes -= dropped.tensor.nbytes
