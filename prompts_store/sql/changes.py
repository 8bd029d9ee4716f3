"""The change table: one row per change, written in the change's own transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from prompts_store.records import Change, ChangeKind
from prompts_store.sql.tables import changes

CHANNEL = "softprompt_changes"
"""PostgreSQL notifies its listeners at commit, once per transaction."""


def record(
    connection: Connection,
    kind: ChangeKind,
    fingerprint: str = "",
    task: str = "",
    *,
    version: int | None = None,
    alias: str | None = None,
    key: str | None = None,
    actor: str,
) -> None:
    """Add a row to the change table. A change of a key has neither fingerprint nor task."""
    connection.execute(
        insert(changes).values(
            kind=kind,
            base_fingerprint=fingerprint,
            task=task,
            version=version,
            alias=alias,
            key=key,
            changed_at=datetime.now(UTC),
            changed_by=actor,
        )
    )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


def tail(connection: Connection) -> int:
    """Return the id of the last change, 0 before the first."""
    last: int | None = connection.scalar(select(func.max(changes.c.id)))
    return last or 0


def since(connection: Connection, revision: int, limit: int) -> tuple[Change, ...]:
    """Return the first `limit` changes after `revision`, oldest first."""
    rows = connection.execute(select(changes).where(changes.c.id > revision).order_by(changes.c.id).limit(limit))
    return tuple(map(_change, rows))


def was_deleted(connection: Connection, fingerprint: str, task: str, revision: int) -> bool:
    """Return whether a task was deleted after `revision`, even if a task of its name exists again."""
    of_task = (changes.c.base_fingerprint == fingerprint) & (changes.c.task == task)
    query = select(changes.c.id).where(of_task, changes.c.kind == ChangeKind.TASK_DELETED, changes.c.id > revision)
    return connection.scalar(query.limit(1)) is not None


def before(connection: Connection, revision: int | None, limit: int) -> tuple[Change, ...]:
    """Return the last `limit` changes, newest first; with `revision`, only those before it."""
    query = select(changes).order_by(changes.c.id.desc()).limit(limit)
    if revision is not None:
        query = query.where(changes.c.id < revision)
    return tuple(map(_change, connection.execute(query)))


def _change(row: Row[Any]) -> Change:
    return Change(
        id=row.id,
        kind=ChangeKind(row.kind),
        fingerprint=row.base_fingerprint,
        task=row.task,
        version=row.version,
        alias=row.alias,
        key=row.key,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
