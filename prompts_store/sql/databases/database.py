"""Connections and transactions, and the one boundary that translates SQLAlchemy's exceptions into ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from sqlite3 import SQLITE_FULL, SQLITE_TOOBIG

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from prompts_store.errors import StoreFull, StoreUnavailable, ValueTooLarge
from prompts_store.sql.databases.backend import Backend, Watcher
from prompts_store.sql.databases.sqlite import SqliteBackend

WRITE_TURN_TIMEOUT_S = 30.0
_DISK_FULL, _OVER_A_LIMIT = "53100", "54"  # of PostgreSQL's table of error codes: a code, and a class of them


class Database:
    """One SQL database, shared by threads. A connection belongs to one transaction at a time."""

    def __init__(self, url: str, *, patient: bool = False) -> None:
        """Take a SQLAlchemy URL, or the path of a SQLite file. Raises StoreUnavailable; connects to nothing yet.

        `patient` lets statements on a server take any time.
        """
        self._backend = _backend(url, patient=patient)
        self._write_turn = threading.Lock()
        self._idle_watchers: list[Watcher] = []

    @property
    def migrates_itself(self) -> bool:
        """Whether opening a store may change the schema."""
        return self._backend.migrates_itself

    def require_existing(self) -> None:
        """Raise StoreUnavailable if the SQLite file does not exist: a connection would create it."""
        if isinstance(self._backend, SqliteBackend) and not self._backend.file.exists():
            raise StoreUnavailable(f"There is no database file {self._backend.file}.")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot of the database. Raises StoreUnavailable."""
        with _unavailable(), self._backend.reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction, which excludes all others of all threads, processes and machines.

        So ids grow in commit order. Commits at the end of the block, rolls back if it raises. Raises StoreUnavailable;
        if the connection breaks during the commit, the transaction may have happened.
        """
        with self._turn_to_write(), _unavailable(), self._backend.writer.begin() as connection:
            yield connection

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Queue the threads here rather than in the database, at most `WRITE_TURN_TIMEOUT_S` behind a hanging one."""
        if not self._write_turn.acquire(timeout=WRITE_TURN_TIMEOUT_S):
            raise StoreUnavailable("The database cannot be written now.")
        try:
            yield
        finally:
            self._write_turn.release()

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Lend a watcher that notices every commit from here on. Raises StoreUnavailable."""
        with _unavailable():
            watcher = self._idle_watcher() or self._backend.watch()
            try:
                yield watcher
            except BaseException:
                watcher.close()
                raise
            self._idle_watchers.append(watcher)

    def _idle_watcher(self) -> Watcher | None:
        with suppress(IndexError):  # one step, as two threads may come for the last one
            return self._idle_watchers.pop()
        return None

    def prepare(self) -> None:
        """Set the settings that the database itself stores, such as SQLite's log mode. Raises StoreUnavailable."""
        with _unavailable():
            self._backend.prepare()

    def erase_log(self, timeout_s: float) -> bool:
        """Remove deleted content from the write-ahead log's file; return whether that is certain now.

        Raises StoreUnavailable.
        """
        with _unavailable():
            return self._backend.erase_log(timeout_s)

    def become_one_file(self) -> None:
        """Let SQLite keep everything in its one file, without a log beside it. Raises StoreUnavailable."""
        assert isinstance(self._backend, SqliteBackend)
        with _unavailable():
            self._backend.become_one_file()

    def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle_watchers:
            self._idle_watchers.pop().close()
        self._backend.reader.dispose()


def _backend(url: str, *, patient: bool) -> Backend:
    try:
        parsed = make_url(url) if "://" in url else URL.create("sqlite", database=url)
    except ArgumentError as error:
        raise StoreUnavailable("The database URL is malformed.") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return SqliteBackend(parsed)
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return _postgres(parsed, patient=patient)
    raise StoreUnavailable("The database URL must name a SQLite file or a PostgreSQL database.")


def _postgres(url: URL, *, patient: bool) -> Backend:
    try:
        from prompts_store.sql.databases.postgres import PostgresBackend
    except ImportError as error:
        message = "PostgreSQL needs a driver; install it with: pip install 'softprompt-server[postgres]'"
        raise StoreUnavailable(message) from error
    return PostgresBackend(url, patient=patient)


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if _is_full(error):
            raise StoreFull("The database's disk is full.") from error
        if _is_too_large(error):
            raise ValueTooLarge("The value is too large for the database.") from error
        raise StoreUnavailable("The database cannot be reached or cannot do its work now.") from error
    except OverflowError as error:  # SQLite's driver refuses values over 2 GiB, or over 64 bits
        raise ValueTooLarge("The value is too large for the database.") from error


def _is_full(error: Exception) -> bool:
    cause = getattr(error, "orig", None)  # the driver's own: SQLite's result code, or PostgreSQL's state
    return getattr(cause, "sqlite_errorcode", None) == SQLITE_FULL or getattr(cause, "sqlstate", None) == _DISK_FULL


def _is_too_large(error: Exception) -> bool:
    cause = getattr(error, "orig", None)
    state = getattr(cause, "sqlstate", None) or ""
    is_over = getattr(cause, "sqlite_errorcode", None) == SQLITE_TOOBIG or state.startswith(_OVER_A_LIMIT)
    return is_over or isinstance(error, DataError)
