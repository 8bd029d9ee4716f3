"""SQLite's page caches stay small: one per connection, and a server has a dozen connections."""

from __future__ import annotations

import _sqlite3
import ctypes
from contextlib import ExitStack
from pathlib import Path

import pytest

from prompts_store.sql.databases.database import Database

_NUM_CONNECTIONS = 8
_TABLE_BYTES = 4 << 20


@pytest.fixture
def database(tmp_path: Path):
    """One table, larger than SQLite's own bound of a cache (2 MiB)."""
    database = Database(str(tmp_path / "store.db"))
    database.prepare()
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE rows (content BLOB)")
        for _ in range(_TABLE_BYTES >> 12):
            connection.exec_driver_sql("INSERT INTO rows VALUES (zeroblob(4096))")
    yield database
    database.close()


def test_a_connection_keeps_few_pages_of_what_it_read(database: Database) -> None:
    """Bytes of SQLite's heap: what 8 connections that read everything hold, beside what each takes anyway."""
    used = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
    used.restype = ctypes.c_longlong
    with ExitStack() as stack:
        connections = [stack.enter_context(database.read()) for _ in range(_NUM_CONNECTIONS)]
        for connection in connections:
            connection.exec_driver_sql("SELECT 1 FROM rows LIMIT 1").one()
        before = used()
        for connection in connections:
            connection.exec_driver_sql("SELECT sum(length(content)) FROM rows").one()
        assert used() - before <= _NUM_CONNECTIONS * (320 << 10)


def test_a_value_larger_than_the_cache_is_kept_whole(database: Database) -> None:
    """Its pages go to the log before the commit, and are gone if the transaction is."""
    content = bytes(range(256)) * (1 << 13)
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO rows VALUES (?)", (content,))
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.exec_driver_sql("INSERT INTO rows VALUES (?)", (content,))
        raise ZeroDivisionError
    with database.read() as connection:
        large = "SELECT content FROM rows WHERE length(content) > 4096"
        assert connection.exec_driver_sql(large).scalars().all() == [content]
