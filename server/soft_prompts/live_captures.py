"""Captures soft prompts before their first use: those that an alias is moved onto, and at start those that are live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from prompts_store.checkpoint_records import BaseModel
from prompts_store.errors import NotFound
from prompts_store.names import TaskReference
from prompts_store.records import Change, ChangeKind, VersionRecord
from prompts_store.store import Store
from server.background_task import background_task, uninterrupted
from server.model.prefix import Prefix
from server.soft_prompts.catalog import TaskCatalog

_NUM_TASKS_PER_READ = 100
_log = logging.getLogger(__name__)


class Capturer(Protocol):
    """An engine that can make a soft prompt ready before a request names it."""

    def has_room(self, prefix: Prefix) -> bool:
        """Whether the soft prompt is ready, or nothing must go for it."""

    async def capture(self, prefix: Prefix, task: str) -> None:
        """Return once the soft prompt is ready. Waits while live requests do; cancelling the caller ends the wait."""


class LiveCaptures:
    """Hands the versions of moved aliases to an engine, one at a time. All methods belong to the event loop.

    Subscribe it to the store's follower. A failure is logged: then the first request captures, as without this.
    """

    def __init__(self, store: Store, base: BaseModel, catalog: TaskCatalog, capturer: Capturer) -> None:
        self._store = store
        self._fingerprint = base.fingerprint
        self._catalog = catalog
        self._capturer = capturer
        self._moved: dict[TaskReference, None] = {}
        """Aliases that wait for their captures, in the order of their moves."""
        self._current: tuple[TaskReference, asyncio.Task[None]] | None = None
        self._wake = asyncio.Event()

    def note(self, changes: Sequence[Change]) -> None:
        """See `Subscriber`: remember what has moved. A capture for the alias's earlier versions waits no longer."""
        for change in changes:
            if change.kind is ChangeKind.ALIAS_MOVED and change.fingerprint == self._fingerprint:
                moved = TaskReference(change.task, None, change.alias)
                self._moved[moved] = None
                if self._current is not None and self._current[0] == moved:
                    self._current[1].cancel()
        self._wake.set()

    async def catch_up(self) -> None:
        """See `Subscriber`: nothing answers from this, so nobody waits for it."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Capture in the background while the context is open."""
        async with background_task(self._run(), "live-captures"):
            yield

    async def _run(self) -> None:
        async for live in self._live():
            await self._capture_moved()
            if not await self._capture(live, only_with_room=True):
                break
        while True:
            await self._capture_moved()
            await self._wake.wait()
            self._wake.clear()

    async def _capture_moved(self) -> None:
        while self._moved:
            moved = next(iter(self._moved))
            del self._moved[moved]
            await self._capture(moved)

    async def _live(self) -> AsyncIterator[TaskReference]:
        """Every alias of every task, by name. A store that does not answer ends it."""
        after: str | None = None
        while True:
            try:
                found, after = await uninterrupted(asyncio.to_thread(self._read_page, after))
            except Exception:
                _log.warning("the live versions cannot be read; they are captured on first use", exc_info=True)
                return
            for reference in found:
                yield reference
            if after is None:
                return

    def _read_page(self, after: str | None) -> tuple[list[TaskReference], str | None]:
        """The aliases of the tasks after a name, and the name to go on from; None at the end."""
        tasks = self._store.list_tasks(self._fingerprint, after=after, limit=_NUM_TASKS_PER_READ)
        found = [reference for task in tasks for reference in self._read_aliases(task.name)]
        return found, tasks[-1].name if len(tasks) == _NUM_TASKS_PER_READ else None

    def _read_aliases(self, task: str) -> list[TaskReference]:
        try:
            found = self._store.list_aliases(self._fingerprint, task)
        except NotFound:  # deleted just now
            return []
        return [TaskReference(task, None, alias.alias) for alias in found]

    def _read_versions(self, reference: TaskReference) -> Iterable[VersionRecord]:
        """What the alias means now, by the store: the catalog may still have the version before it."""
        try:
            return self._store.resolve_all(self._fingerprint, reference).versions
        except NotFound:
            return ()

    async def _capture(self, reference: TaskReference, *, only_with_room: bool = False) -> bool:
        """Capture the versions of an alias; whether there was room. Whoever moves it meanwhile ends this."""
        try:
            for version in await uninterrupted(asyncio.to_thread(self._read_versions, reference)):
                for part in () if version.has_head else await self._catalog.parts(version):
                    if reference in self._moved:
                        return True
                    if only_with_room and not self._capturer.has_room(part.prefix):
                        return False
                    await self._capture_one(reference, part.prefix)
        except Exception:
            _log.warning("task %s is not captured ahead; its first request captures it", reference, exc_info=True)
        return True

    async def _capture_one(self, reference: TaskReference, prefix: Prefix) -> None:
        capturing = asyncio.create_task(self._capturer.capture(prefix, reference.task))
        self._current = reference, capturing
        try:
            await asyncio.wait({capturing})
        finally:
            self._current = None
            capturing.cancel()  # no effect after its end
        if not capturing.cancelled():
            capturing.result()
