"""SQLite: one file, many readers and one writer."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from prompts_store.sql.databases.backend import MAX_OVERFLOW, POOL_SIZE

BUSY_TIMEOUT_S = 30
POLL_INTERVAL_S = 0.02

_CACHE_KIB = 256

# Deleted content is overwritten with zeros: a purge leaves nothing in the file.
# Each connection has a page cache. It fills with the pages of large tensors, which nobody reads twice, for hours and up
# to 2 MiB by default; pages that are read again come from the system's cache at the same cost (docs/experiments.md).
_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"cache_size=-{_CACHE_KIB}")


class SqliteBackend:
    """A SQLite file."""

    migrates_itself = True

    def __init__(self, url: URL) -> None:
        assert url.database is not None
        self.file = Path(url.database)
        self.reader: Engine = create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=MAX_OVERFLOW,
            pool_timeout=BUSY_TIMEOUT_S,
            connect_args={"timeout": BUSY_TIMEOUT_S},
        )
        event.listen(self.reader, "connect", _configure)
        event.listen(self.reader, "begin", _begin)
        self.writer: Engine = self.reader.execution_options(begin="BEGIN IMMEDIATE")

    def prepare(self) -> None:
        """Turn on the write-ahead log, so that readers and the writer do not wait for each other."""
        with self._outside_transactions() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def become_one_file(self) -> None:
        """Write the log back and turn it off, until a store opens the file again."""
        with self._outside_transactions() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")

    def watch(self) -> DataVersionWatcher:
        """Open a watcher."""
        return DataVersionWatcher(self.reader)

    def erase_log(self, timeout_s: float) -> bool:
        """Write the log back and empty its file, as soon as no reader needs it. Writers do not wait for that."""
        deadline = time.monotonic() + timeout_s
        with self._outside_transactions() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            try:
                while busy := connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(POLL_INTERVAL_S)
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        return not busy

    def _outside_transactions(self) -> Connection:
        return self.reader.execution_options(begin=None).connect()


class DataVersionWatcher:
    """Polls `PRAGMA data_version`, which reads no table and takes microseconds."""

    def __init__(self, engine: Engine) -> None:
        self._connection = engine.execution_options(begin=None).connect()
        self._connection.detach()
        self._seen = self._data_version()

    def wait(self, timeout_s: float, stop: Event) -> None:
        """Return after another connection's commit, after `timeout_s`, or at once when `stop` is set."""
        deadline = time.monotonic() + timeout_s
        while (version := self._data_version()) == self._seen:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or stop.wait(min(left_s, POLL_INTERVAL_S)):
                return
        self._seen = version

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _data_version(self) -> int:
        return int(self._connection.exec_driver_sql("PRAGMA data_version").scalar_one())


def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # _begin, not the driver, begins transactions
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement is not None:
        connection.exec_driver_sql(statement)
