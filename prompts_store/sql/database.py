"""Connections and transactions, and the one boundary where SQLAlchemy's exceptions become StoreUnavailable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from prompts_store.errors import StoreUnavailable

BUSY_TIMEOUT_S = 30
POOL_SIZE = 8


class Database:
    """One SQL database, shared by threads. A connection belongs to one transaction at a time."""

    def __init__(self, url: str) -> None:
        """Take a SQLAlchemy URL, or the path of a SQLite file. Raises StoreUnavailable; connects to nothing yet."""
        try:
            parsed = make_url(url) if "://" in url else URL.create("sqlite", database=url)
        except ArgumentError as error:
            raise StoreUnavailable("The database URL cannot be read.") from error
        if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
            raise StoreUnavailable("The database URL does not name a SQLite file; nothing else is supported yet.")
        self._engine = create_engine(
            parsed,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=BUSY_TIMEOUT_S,
            connect_args={"timeout": BUSY_TIMEOUT_S},
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._write_turn = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database. Raises StoreUnavailable."""
        with _unavailable(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open the only write transaction of the moment among all threads and processes.

        So ids grow in commit order. Commits at the end of the block, rolls back if it raises. Raises StoreUnavailable.
        """
        with self._write_turn, _unavailable(), self._writer.begin() as connection:
            yield connection

    def use_write_ahead_log(self) -> None:
        """Let readers and the writer not wait for each other; the database file remembers. Raises StoreUnavailable."""
        outside_transactions = self._engine.execution_options(begin=None)
        with _unavailable(), outside_transactions.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise StoreUnavailable("The database cannot be reached or cannot do its work now.") from error


def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # _begin, not the driver, begins transactions
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement is not None:
        connection.exec_driver_sql(statement)
