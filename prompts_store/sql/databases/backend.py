"""The contract of a database, which sqlite.py and postgres.py implement."""

from __future__ import annotations

from threading import Event
from typing import Protocol

from sqlalchemy import Engine

POOL_SIZE, MAX_OVERFLOW = 8, 21
"""Connections that are kept, and those that a burst opens beside them: one a thread of a server (`server.threads`)."""


class Watcher(Protocol):
    """A connection of its own that notices commits of others. It belongs to one thread at a time."""

    def wait(self, timeout_s: float, stop: Event) -> None:
        """Return soon after another connection's commit, or after `timeout_s`; at times without a reason.

        Return within half a second after `stop` is set.

        A commit since the last call, or since the watcher was made, counts. Raises StoreUnavailable.
        """

    def close(self) -> None:
        """Close the connection."""


class Backend(Protocol):
    """One kind of database.

    `reader` begins transactions that see one state of the database, `writer` those that exclude every other writer.
    `migrates_itself` says whether opening a store may change the schema: where only one release uses the file.
    """

    migrates_itself: bool

    @property
    def reader(self) -> Engine: ...  # noqa: D102 - the class docstring says it
    @property
    def writer(self) -> Engine: ...  # noqa: D102 - the class docstring says it

    def prepare(self) -> None:
        """Set the settings that the database itself stores."""

    def watch(self) -> Watcher:
        """Open a watcher."""

    def erase_log(self, timeout_s: float) -> bool:
        """Remove deleted content from the write-ahead log's file; return whether that is certain now."""
