"""The API keys that this server knows, kept true by following the store.

All keys are in memory, so no request waits for the database, a flood of wrong keys never reaches it, and known keys go
on opening while it is away. A key made or revoked elsewhere counts here within a poll; expiry counts at once.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prompts_store.errors import StoreError
from prompts_store.keys import KeyRecord, digest_of
from prompts_store.records import ChangeKind
from prompts_store.store import Store
from server.api.access.caller import ANYBODY, BOOTSTRAP, Caller, caller_of
from server.api.errors import Unauthorized
from server.background_task import background_task
from server.threads import Threads

POLL_INTERVAL_S = 0.5
_NUM_CHANGES_PER_READ = 1_000
_KEY_CHANGES = frozenset({ChangeKind.KEY_CREATED, ChangeKind.KEY_REVOKED})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """Keys by their digest, as of a revision of the store."""

    revision: int
    by_digest: Mapping[str, tuple[KeyRecord, Caller]] = field(default_factory=dict)
    ever_had_keys: bool = False


class KeyRing:
    """Says who a caller is. Without an admin key, and before the store's first key ever, everybody may do everything.

    Revoking the last key does not open the server. Reads the store when it is made (`StoreUnavailable`).
    """

    def __init__(
        self,
        store: Store,
        admin_key: str | None = None,
        *,
        poll_interval_s: float = POLL_INTERVAL_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._now = now
        self._admin_digest = None if admin_key is None else digest_of(admin_key)
        self._poll_interval_s = poll_interval_s
        self._refreshing = asyncio.Lock()
        self._threads = Threads("key-ring", 1)
        self._known = self._read()

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return self._admin_digest is None and not self._known.ever_had_keys

    def identify(self, secret: str | None) -> Caller:
        """Whose key this is. Raises `Unauthorized` for no key, or one that is unknown, revoked or expired."""
        if self.is_open:
            return ANYBODY
        if secret is not None:
            digest = digest_of(secret)
            if self._admin_digest is not None and hmac.compare_digest(digest, self._admin_digest):
                return BOOTSTRAP
            # How long a look-up by digest takes tells of the digest at most, from which nobody gets to a key.
            record, caller = self._known.by_digest.get(digest, (None, ANYBODY))
            if record is not None and hmac.compare_digest(digest, record.sha256) and record.is_live(self._now()):
                return caller
        raise Unauthorized("a valid API key is required: send 'Authorization: Bearer <key>'")

    async def refresh(self) -> None:
        """Take over what was changed by now. Raises `StoreUnavailable`."""
        async with self._refreshing:
            self._known = await self._threads.run(self._follow, self._known)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the store in the background while the context is open."""
        try:
            async with background_task(self._poll(), "key-ring"):
                yield
        finally:
            self._threads.close()

    async def _poll(self) -> None:
        is_reachable = True
        while True:
            await asyncio.sleep(self._poll_interval_s)
            # Shielded, so that the store is not closed under a read that has begun.
            reading = asyncio.create_task(self.refresh())
            try:
                await asyncio.shield(reading)
            except asyncio.CancelledError:
                with suppress(StoreError):
                    await reading
                raise
            except Exception:  # whatever one round meets, the next must come, or a revoked key would go on opening
                if is_reachable:
                    _log.warning("the store's keys cannot be followed; known keys stay as they are", exc_info=True)
                is_reachable = False
            else:
                is_reachable = True

    def _follow(self, known: _Known) -> _Known:
        """What is known now; keys are read again only where a change tells of one."""
        revision = known.revision
        while changes := self._store.changes_since(revision, _NUM_CHANGES_PER_READ):
            if any(change.kind in _KEY_CHANGES for change in changes):
                return self._read()
            revision = changes[-1].id
        return _Known(revision, known.by_digest, known.ever_had_keys)

    def _read(self) -> _Known:
        revision = self._store.revision()  # first: what is committed in between is read once more
        table = self._store.key_table()
        return _Known(revision, {key.sha256: (key, caller_of(key)) for key in table.keys}, table.ever_had_keys)
