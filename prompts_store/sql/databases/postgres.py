"""PostgreSQL through psycopg 3: one database for many replicas. Importing this needs the extra `postgres`."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, create_engine, event

from prompts_store.errors import StoreUnavailable
from prompts_store.sql.changes import CHANNEL
from prompts_store.sql.databases.backend import MAX_OVERFLOW, POOL_SIZE

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
"""Maximum time of a statement, or of a wait for the write lock, after which the server ends it."""
ANSWER_TIMEOUT_S = 15
"""Maximum silence of a server. After it, the connection is given up: the server may be stopped or unreachable."""
IDLE_TIMEOUT_S = 60
"""Maximum silence of a client within a transaction. After it, the server ends the transaction and its write lock."""
POLL_INTERVAL_S = 0.5
"""Time between two polls of a watcher, because a proxy may drop notifications."""

# Any number that no other program takes in this database: "prompts" in ASCII.
_WRITE_LOCK = int.from_bytes(b"prompts", "big")
_Result = TypeVar("_Result")


class PostgresBackend:
    """A PostgreSQL database. With `patient` statements may take any time, as a migration's do."""

    migrates_itself = False

    def __init__(self, url: URL, *, patient: bool = False) -> None:
        self._engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=POOL_SIZE,
            max_overflow=MAX_OVERFLOW,
            pool_timeout=ANSWER_TIMEOUT_S,
            pool_pre_ping=True,  # a connection that died in the pool is replaced, not handed out
            connect_args=_connect_args(patient),
        )
        event.listen(self._engine, "do_connect", _connect_patiently if patient else _connect)
        event.listen(self._engine, "begin", _begin)
        self.reader: Engine = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        # Each statement of a writer sees what was committed before it took the lock; a snapshot taken with the first
        # statement, which is the lock itself, would be older than the lock.
        self.writer: Engine = self._engine.execution_options(isolation_level="READ COMMITTED", write_lock=True)

    def prepare(self) -> None:
        """Do nothing: all settings are the connection's."""

    def watch(self) -> NotificationWatcher:
        """Open a watcher."""
        return NotificationWatcher(self._engine)

    def erase_log(self, timeout_s: float) -> bool:
        """Return False: vacuum and the log's retention decide when a server's files lose deleted rows."""
        return False


class NotificationWatcher:
    """Waits for NOTIFY, with polling underneath."""

    def __init__(self, engine: Engine) -> None:
        pooled = engine.connect()
        connection = pooled.connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        pooled.detach()
        self._connection: psycopg.Connection[Any] = connection
        with _unavailable():
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, timeout_s: float, stop: Event) -> None:
        """Return after a notification, or after `timeout_s` or the poll interval: soon enough for `stop`."""
        with _unavailable():
            for _ in self._connection.notifies(timeout=min(timeout_s, POLL_INTERVAL_S), stop_after=1):
                pass

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise StoreUnavailable("The database cannot be reached or cannot do its work now.") from error


class _ImpatientConnection(psycopg.Connection[Any]):
    """A connection that gives up a silent server. The server's own timeouts do not help when the server hangs."""

    def wait(self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None) -> _Result:
        return super().wait(gen if timeout is not None else self._bounded(gen), interval, timeout)

    def _bounded(self, gen: PQGen[_Result]) -> Generator[Any, Any, _Result]:
        """Pass on a generator of psycopg's, which is sent 0 each time nothing has arrived for an interval."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("The server has not answered in time.")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result


def _connect_args(patient: bool) -> dict[str, Any]:
    statement_timeout_s = 0 if patient else STATEMENT_TIMEOUT_S
    settings = {
        "statement_timeout": statement_timeout_s * 1000,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_S * 1000,
        "timezone": "UTC",
    }
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "softprompt",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": ANSWER_TIMEOUT_S * 1000,
    }


def _connect(_dialect: object, _record: object, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return _ImpatientConnection.connect(*args, **options)


def _connect_patiently(_dialect: object, _record: object, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return psycopg.Connection.connect(*args, **options)


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("write_lock"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
