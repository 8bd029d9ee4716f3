"""The feed of a store's changes, in commit order. Replicas follow it, and it is the audit log."""

from __future__ import annotations

import time
from threading import Event

from prompts_store.records import Change
from prompts_store.sql import changes
from prompts_store.sql.databases.database import Database


class ChangeFeed:
    """Every committed change, under a growing id: the revision. Every method may raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision(self) -> int:
        """Return the id of the last committed change, 0 for an empty store: cheap to poll."""
        with self._database.read() as connection:
            return changes.tail(connection)

    def changes_since(self, revision: int, limit: int) -> tuple[Change, ...]:
        """Return the first `limit` changes after `revision`, in commit order."""
        with self._database.read() as connection:
            return changes.since(connection, revision, limit)

    def audit(self, *, before: int | None = None, limit: int = 100) -> tuple[Change, ...]:
        """Return the last `limit` changes before the id `before`, newest first: the audit log."""
        with self._database.read() as connection:
            return changes.before(connection, before, limit)

    def wait_for_changes(self, revision: int, timeout_s: float, stop: Event | None = None) -> int:
        """Wait until something is committed after `revision`; return the revision by then, or after `timeout_s`.

        Setting `stop` ends the wait: at once on SQLite, within half a second on PostgreSQL.

        A commit of this or any other process is noticed within some hundredths of a second; on PostgreSQL within half a
        second where notifications do not come through.
        """
        deadline = time.monotonic() + timeout_s
        stop = Event() if stop is None else stop
        with self._database.watching() as watcher:
            while (current := self.revision()) <= revision and (left_s := deadline - time.monotonic()) > 0:
                if stop.is_set():
                    break
                watcher.wait(left_s, stop)
            return current
