"""The API keys that this server knows, read again with the store's changes.

All keys are in memory, so no request waits for the database, a flood of wrong keys never reaches it, and known keys go
on opening while it is away. A key made or revoked elsewhere counts here as soon as a moved alias does; expiry counts at
once.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prompts_store.keys import KeyRecord, digest_of
from prompts_store.records import Change, ChangeKind
from prompts_store.store import Store
from server.api.access.caller import ANYBODY, BOOTSTRAP, Caller, caller_of
from server.api.errors import Unauthorized
from server.background_task import uninterrupted
from server.threads import Threads

_KEY_CHANGES = frozenset({ChangeKind.KEY_CREATED, ChangeKind.KEY_REVOKED})


@dataclass(frozen=True, slots=True)
class _Known:
    """Keys by their digest and by their caller's name in the store, as of one reading of the store."""

    by_digest: Mapping[str, tuple[KeyRecord, Caller]]
    by_actor: Mapping[str, tuple[KeyRecord, Caller]]
    ever_had_keys: bool


class KeyRing:
    """Says who a caller is. Without an admin key, and before the store's first key ever, everybody may do everything.

    Revoking the last key does not open the server. Reads the store when it is made (`StoreUnavailable`), and after that
    as a subscriber of a `StoreFollower`.
    """

    def __init__(
        self,
        store: Store,
        admin_key: str | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._now = now
        self._admin_digest = None if admin_key is None else digest_of(admin_key)
        self._threads = Threads("key-ring", 1)
        self._known = self._read()
        self._is_stale = True  # what is committed before the first `catch_up` is in none of the changes after it

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

    def named(self, actor: str) -> Caller:
        """The caller with this name in the store's records, with the rights of now. Raises `Unauthorized`."""
        if actor == ANYBODY.actor and self.is_open:
            return ANYBODY
        if actor == BOOTSTRAP.actor and self._admin_digest is not None:
            return BOOTSTRAP
        record, caller = self._known.by_actor.get(actor, (None, ANYBODY))
        if record is not None and record.is_live(self._now()):
            return caller
        raise Unauthorized("the API key is revoked or expired")

    def note(self, changes: Sequence[Change]) -> None:
        """See `Subscriber`: the keys are stale once a change names one."""
        if any(change.kind in _KEY_CHANGES for change in changes):
            self._is_stale = True

    async def catch_up(self) -> None:
        """See `Subscriber`: read the keys again where they are stale. Raises `StoreUnavailable`."""
        while self._is_stale:
            self._is_stale = False
            try:
                self._known = await uninterrupted(self._threads.run(self._read))
            except BaseException:
                self._is_stale = True
                raise

    def close(self) -> None:
        """Let the thread end."""
        self._threads.close()

    def _read(self) -> _Known:
        table = self._store.key_table()
        known = [(key, caller_of(key)) for key in table.keys]
        by_actor = {caller.actor: (key, caller) for key, caller in known}
        return _Known({key.sha256: (key, caller) for key, caller in known}, by_actor, table.ever_had_keys)
