"""Which version answers a task reference: known ones from memory, renewed with the store's changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prompts_store.checkpoint_records import BaseModel
from prompts_store.errors import InvalidCheckpoint, NotFound, StoreError, StoreUnavailable, UnsupportedTaskType
from prompts_store.names import TaskReference
from prompts_store.records import Change, EnsembleMember, Resolution, VersionRecord
from prompts_store.store import Store
from prompts_store.targets import choose_version
from server.background_task import uninterrupted
from server.model.errors import ModelError
from server.model.heads.heads import Heads
from server.model.prefix import prefix_of
from server.soft_prompts.known_references import KnownReferences
from server.soft_prompts.missing import MissingNames
from server.soft_prompts.part_cache import Part, PartCache
from server.store_follower import StoreFollower
from server.threads import Threads

_MAX_CACHED_BYTES = 1024**3
_MAX_LOOK_UPS = 4
_MAX_LOOK_UPS_AT_ONCE = 4

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """What a request keeps until its end: the version that it was resolved to, and the tensors of it.

    `parts` is one, or of an ensemble one a member, in its order. `shadow` is the version to be run for comparison, if
    the alias has one.
    """

    record: VersionRecord
    parts: tuple[Part, ...]
    shadow: VersionRecord | None = None


class TaskCatalog:
    """Resolves task references for one base model. All methods belong to the event loop; SQL runs in threads.

    A reference once resolved is known: it is answered from memory, resolved again when the store's change feed names
    its task, and kept while the store is away. What is not in the store is remembered as missing for a second at most.
    Subscribe it to `follower`: before that, nothing is remembered. `max_cached_bytes` bounds the tensors in host
    memory, without those that requests hold; those that no known reference means any more are let go at once. `heads`
    builds the heads of versions that have one.
    """

    def __init__(
        self,
        store: Store,
        base: BaseModel,
        follower: StoreFollower,
        heads: Heads | None = None,
        *,
        max_cached_bytes: int = _MAX_CACHED_BYTES,
    ) -> None:
        self._heads = heads
        self._store = store
        self._follower = follower
        self._base = base
        self._known = KnownReferences()
        self._stale: dict[TaskReference, None] = {}
        """In the order in which they are read again; one that fails goes to the end."""
        self._missing = MissingNames()
        self._look_ups: dict[TaskReference, asyncio.Task[Resolution]] = {}
        self._threads = Threads("catalog", _MAX_LOOK_UPS_AT_ONCE + 1)  # one more: a catch-up waits for no look-up
        self._look_up_turns = asyncio.Semaphore(_MAX_LOOK_UPS_AT_ONCE)
        self._parts = PartCache(max_cached_bytes)
        self._loads: dict[tuple[str, int], asyncio.Task[Part]] = {}
        self._seen: int | None = None
        """The last change that was noted; 0 before the first one, None before the store is followed."""

    @property
    def fingerprint(self) -> str:
        """Of the base model, whose changes are those of this catalog."""
        return self._base.fingerprint

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
        return ServedVersion(record, await self.parts(record), resolution.shadow)

    def versions_of(self, digest: str) -> list[tuple[str, int]]:
        """The task and the number of each version with these tensors by which a known reference answers."""
        return self._known.versions_of(digest)

    async def parts(self, record: VersionRecord) -> tuple[Part, ...]:
        """The tensors of a version, or of an ensemble's members.

        Raises what `Store.load_content` raises, and UnsupportedTaskType for a head that cannot be built.
        """
        return tuple([await self._part_of(record, member) for member in record.parts])

    def note(self, changes: Sequence[Change]) -> None:
        """See `Subscriber`: mark what is known of the touched tasks as stale, and forget that they were missing."""
        touched = {change.task for change in changes if change.fingerprint == self._base.fingerprint}
        self._seen = changes[-1].id
        self._missing.forget(touched)
        self._stale |= {reference: None for reference in self._known if reference.task in touched}

    async def catch_up(self) -> None:
        """See `Subscriber`: resolve again what is stale. Raises `StoreUnavailable`."""
        if self._seen is None:
            self._seen = 0
        left: set[str] = set()
        try:
            while self._stale:
                reference = next(iter(self._stale))
                del self._stale[reference]
                try:
                    left |= await uninterrupted(self._renew(reference))
                except BaseException:
                    self._stale[reference] = None
                    raise
        finally:  # those renewed before the store went away are not stale the next time
            self._drop_unless_known(left)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    async def _look_up(self, reference: TaskReference) -> Resolution:
        """Ask the store. A change seen in the meantime may have moved the reference after it was read: ask again."""
        if not self._follower.store_is_reachable and self._look_up_turns.locked():
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

    async def _renew(self, reference: TaskReference) -> set[str]:
        """Resolve a known reference again; the digests by which it no longer answers."""
        if reference not in self._known:  # touched again while it was found missing
            return set()
        before = _digests([self._known[reference]])
        try:
            found = await self._read_all(reference)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if not isinstance(error, NotFound):
                _log.exception("task %s cannot be served", reference)
            del self._known[reference]
            return before
        self._known[reference] = found
        return before - _digests([found])

    async def _read_all(self, reference: TaskReference) -> Resolution:
        """What a reference means; the tensors of all its versions are in memory before it becomes known."""
        found = await self._threads.run(self._store.resolve_all, self._base.fingerprint, reference)
        for record in found.versions:
            await self.parts(record)
        return found

    def _drop_unless_known(self, digests: set[str]) -> None:
        """Let go of tensors that no known reference means any more: else every version ever promoted would stay."""
        if digests:
            self._parts.drop(digests - _digests(self._known.values()))

    async def _part_of(self, record: VersionRecord, member: EnsembleMember) -> Part:
        key = _key(record, member)
        if part := self._parts.get(key):
            return part
        # Not by the digest: another task with the same tensors must not fail with this one.
        return await _shared(self._loads, (record.task, member.version), lambda: self._load(key, record, member))

    async def _load(self, key: str, record: VersionRecord, member: EnsembleMember) -> Part:
        part = await self._threads.run(self._read, record.task, member.version)
        self._parts.put(key, part)
        return part

    def _read(self, task: str, version: int) -> Part:
        # A version retired since it was resolved still answers the requests that hold it.
        content = self._store.load_content(self._base.fingerprint, task, version, include_retired=True)
        prefix = prefix_of(content.prefix)
        if not content.record.has_head:
            return Part(prefix)
        if self._heads is None:
            raise UnsupportedTaskType("This server builds no heads.", param="task_type")
        try:
            return Part(prefix, self._heads.build(content.checkpoint, content.record.manifest))
        except (ModelError, InvalidCheckpoint) as error:
            message = f'The head of version {version} of task "{task}" cannot be built: {error}'
            raise UnsupportedTaskType(message, param="task_type") from error


def _key(record: VersionRecord, member: EnsembleMember) -> str:
    """The digest of all that a part is made of: of a version with a head its content, which has the head in it."""
    return member.digest if record.has_head else member.prefix_digest


def _digests(resolutions: Iterable[Resolution]) -> set[str]:
    """The digests of all tensors by which these answer, shadows included."""
    found = set()
    for resolution in resolutions:
        for record in (*resolution.versions, resolution.shadow):
            if record is not None:
                found |= {_key(record, member) for member in record.parts}
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
