"""Queries about tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from prompts_store.errors import TaskNotFound
from prompts_store.names import PRODUCTION, check_task_name
from prompts_store.records import ChangeKind, TaskRecord
from prompts_store.sql import changes
from prompts_store.sql.tables import alias_targets, tasks, versions


def task_id(connection: Connection, fingerprint: str, name: str) -> int:
    """Return a live task's id. Raises TaskNotFound and InvalidName."""
    check_task_name(name)
    found: int | None = connection.scalar(
        select(tasks.c.id).where(named(fingerprint, name), tasks.c.deleted_at.is_(None))
    )
    if found is None:
        raise TaskNotFound(f'There is no task "{name}".')
    return found


def get(connection: Connection, fingerprint: str, name: str) -> TaskRecord:
    """Return a live task. Raises TaskNotFound and InvalidName."""
    found = task_id(connection, fingerprint, name)
    return _record(connection.execute(_live_tasks().where(tasks.c.id == found)).one())


def page(
    connection: Connection, fingerprint: str, after: str | None, limit: int, only: Sequence[str] | None
) -> tuple[TaskRecord, ...]:
    """Return the first `limit` live tasks by name, after the name `after`; where `only` is given, of those it names."""
    query = _live_tasks().where(tasks.c.base_fingerprint == fingerprint)
    if after is not None:
        query = query.where(tasks.c.name > after)
    if only is not None:
        query = query.where(tasks.c.name.in_(only))
    return tuple(_record(row) for row in connection.execute(query.order_by(tasks.c.name).limit(limit)))


def fingerprints(connection: Connection) -> tuple[str, ...]:
    """Return the base models that have live tasks."""
    query = select(tasks.c.base_fingerprint).distinct().where(tasks.c.deleted_at.is_(None))
    return tuple(connection.scalars(query.order_by(tasks.c.base_fingerprint)))


def create(connection: Connection, fingerprint: str, name: str, description: str, actor: str) -> int | None:
    """Create a task, or bring back a deleted one with its numbers; return its id, or None if it is live already."""
    born = {"description": description, "created_at": datetime.now(UTC), "created_by": actor, "deleted_at": None}
    row = connection.execute(select(tasks.c.id, tasks.c.deleted_at).where(named(fingerprint, name))).one_or_none()
    if row is None:
        values = {"base_fingerprint": fingerprint, "name": name, "last_version": 0, **born}
        created: int = connection.scalars(insert(tasks).values(values).returning(tasks.c.id)).one()
    elif row.deleted_at is not None:
        created = row.id
        connection.execute(update(tasks).where(tasks.c.id == created).values(born))
    else:
        return None
    changes.record(connection, ChangeKind.TASK_CREATED, fingerprint, name, actor=actor)
    return created


def bury(connection: Connection, found: int, fingerprint: str, name: str, actor: str) -> None:
    """Mark a live task deleted, whose versions and aliases are gone."""
    connection.execute(update(tasks).where(tasks.c.id == found).values(deleted_at=datetime.now(UTC)))
    changes.record(connection, ChangeKind.TASK_DELETED, fingerprint, name, actor=actor)


def next_version(connection: Connection, found: int) -> int:
    """Take the task's next version number."""
    query = update(tasks).where(tasks.c.id == found).values(last_version=tasks.c.last_version + 1)
    number: int = connection.scalars(query.returning(tasks.c.last_version)).one()
    return number


def named(fingerprint: str, name: str) -> ColumnElement[bool]:
    """Return the condition that a task's row, live or not, has this name."""
    return (tasks.c.base_fingerprint == fingerprint) & (tasks.c.name == name)


def _live_tasks() -> Select[Any]:
    latest = select(func.max(versions.c.number)).where(
        versions.c.task_id == tasks.c.id, versions.c.retired_at.is_(None)
    )
    # As records.main_version chooses.
    production = (
        select(alias_targets.c.version)
        .where(alias_targets.c.task_id == tasks.c.id, alias_targets.c.alias == PRODUCTION)
        .order_by(alias_targets.c.weight.desc(), alias_targets.c.version)
        .limit(1)
    )
    return select(
        tasks,
        latest.scalar_subquery().label("latest_version"),
        production.scalar_subquery().label("production_version"),
    ).where(tasks.c.deleted_at.is_(None))


def _record(row: Row[Any]) -> TaskRecord:
    return TaskRecord(
        name=row.name,
        description=row.description,
        created_at=row.created_at,
        latest_version=row.latest_version,
        production_version=row.production_version,
    )
