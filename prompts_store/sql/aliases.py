"""Queries about aliases: where they are, how they came there, and moving them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from prompts_store.errors import AliasNotFound, NoPreviousVersion, PreconditionFailed
from prompts_store.names import check_alias_name
from prompts_store.records import AliasMove, AliasRecord, ChangeKind
from prompts_store.sql import changes, versions
from prompts_store.sql.tables import alias_moves, aliases
from prompts_store.sql.tables import versions as version_rows
from prompts_store.sql.tasks import task_id

ANY_ETAG = "*"

_PLACES = select(aliases, alias_moves.c.moved_at, alias_moves.c.moved_by, alias_moves.c.parent_id).join(
    alias_moves, alias_moves.c.id == aliases.c.move_id
)


@dataclass(frozen=True, slots=True)
class AliasKey:
    """A live task's alias, which may or may not exist now."""

    fingerprint: str
    task: str
    task_id: int
    alias: str


def key(connection: Connection, fingerprint: str, task: str, alias: str) -> AliasKey:
    """Look up the task of an alias. Raises TaskNotFound and InvalidName."""
    check_alias_name(alias)
    return AliasKey(fingerprint, task, task_id(connection, fingerprint, task), alias)


def get(connection: Connection, key: AliasKey) -> AliasRecord:
    """Return where an alias is. Raises AliasNotFound."""
    return _record(key.task, _existing(connection, key))


def all_of(connection: Connection, fingerprint: str, task: str) -> tuple[AliasRecord, ...]:
    """Return a task's aliases by name. Raises TaskNotFound and InvalidName."""
    query = _PLACES.where(aliases.c.task_id == task_id(connection, fingerprint, task)).order_by(aliases.c.alias)
    return tuple(_record(task, place) for place in connection.execute(query))


def put(
    connection: Connection, key: AliasKey, version: int, *, if_match: str | None, must_not_exist: bool, actor: str
) -> AliasRecord:
    """Move or create an alias; every accepted call is a move, also to where it was.

    Raises PreconditionFailed, and VersionNotFound unless the version is live.
    """
    place = _place(connection, key)
    if must_not_exist and place is not None:
        raise PreconditionFailed(f'Alias "{key.alias}" exists already.')
    _check_match(key, place, if_match)
    versions.row(connection, key.fingerprint, key.task, version)
    return _move(connection, key, place, version, _top(connection, key, place), actor)


def promote(connection: Connection, key: AliasKey, version: int, actor: str) -> None:
    """Move or create an alias unconditionally; no move where it is there already."""
    place = _place(connection, key)
    if place is None or place.version != version:
        _move(connection, key, place, version, _top(connection, key, place), actor)


def remove(connection: Connection, key: AliasKey, *, if_match: str | None, actor: str) -> None:
    """Delete an alias; its history stays. Raises AliasNotFound and PreconditionFailed."""
    place = _existing(connection, key)
    _check_match(key, place, if_match)
    _log(connection, key.task_id, key.alias, place.version, None, place.move_id, actor)
    connection.execute(delete(aliases).where(_is(key)))
    changes.record(connection, ChangeKind.ALIAS_DELETED, key.fingerprint, key.task, alias=key.alias, actor=actor)


def remove_all(connection: Connection, task: int, actor: str) -> None:
    """Delete a task's aliases; their history stays."""
    for place in connection.execute(select(aliases).where(aliases.c.task_id == task)).all():
        _log(connection, task, place.alias, place.version, None, place.move_id, actor)
    connection.execute(delete(aliases).where(aliases.c.task_id == task))


def history(connection: Connection, key: AliasKey, limit: int) -> tuple[AliasMove, ...]:
    """Return the last `limit` moves, newest first. Raises AliasNotFound if there never was one."""
    moves = select(alias_moves).where(_moves_of(key)).order_by(alias_moves.c.id.desc()).limit(limit)
    found = tuple(
        AliasMove(key.task, key.alias, move.from_version, move.to_version, move.moved_at, move.moved_by)
        for move in connection.execute(moves)
    )
    if not found:
        raise _not_found(key)
    return found


def rollback(connection: Connection, key: AliasKey, actor: str) -> AliasRecord:
    """Undo the last move that has not been undone, past versions retired since.

    Raises AliasNotFound and NoPreviousVersion.
    """
    place = _existing(connection, key)
    parent_id = place.parent_id
    while parent_id is not None:
        move = connection.execute(select(alias_moves).where(alias_moves.c.id == parent_id)).one()
        if move.to_version not in (None, place.version) and _is_live(connection, key, move.to_version):
            return _move(connection, key, place, move.to_version, move.parent_id, actor)
        parent_id = move.parent_id
    raise NoPreviousVersion(f'Alias "{key.alias}" of task "{key.task}" has no earlier live version.')


def _move(
    connection: Connection, key: AliasKey, place: Row[Any] | None, version: int, parent_id: int | None, actor: str
) -> AliasRecord:
    from_version = None if place is None else place.version
    move_id = _log(connection, key.task_id, key.alias, from_version, version, parent_id, actor)
    where = {"version": version, "move_id": move_id}
    if place is None:
        connection.execute(insert(aliases).values(task_id=key.task_id, alias=key.alias, **where))
    else:
        connection.execute(update(aliases).where(_is(key)).values(where))
    changes.record(
        connection, ChangeKind.ALIAS_MOVED, key.fingerprint, key.task, version=version, alias=key.alias, actor=actor
    )
    return get(connection, key)


def _log(
    connection: Connection,
    task: int,
    alias: str,
    from_version: int | None,
    to_version: int | None,
    parent_id: int | None,
    actor: str,
) -> int:
    """Add a move to the history and return its id."""
    values = {
        "task_id": task,
        "alias": alias,
        "from_version": from_version,
        "to_version": to_version,
        "parent_id": parent_id,
        "moved_at": datetime.now(UTC),
        "moved_by": actor,
    }
    move_id: int = connection.scalars(insert(alias_moves).values(values).returning(alias_moves.c.id)).one()
    return move_id


def _top(connection: Connection, key: AliasKey, place: Row[Any] | None) -> int | None:
    """Return the move that a rollback of the next one goes back to."""
    if place is not None:
        return int(place.move_id)
    last: int | None = connection.scalar(select(func.max(alias_moves.c.id)).where(_moves_of(key)))
    return last


def _check_match(key: AliasKey, place: Row[Any] | None, if_match: str | None) -> None:
    if if_match is None:
        return
    if place is None or if_match not in (ANY_ETAG, _etag(place)):
        raise PreconditionFailed(f'Alias "{key.alias}" is not where If-Match says.')


def _existing(connection: Connection, key: AliasKey) -> Row[Any]:
    place = _place(connection, key)
    if place is None:
        raise _not_found(key)
    return place


def _place(connection: Connection, key: AliasKey) -> Row[Any] | None:
    return connection.execute(_PLACES.where(_is(key))).one_or_none()


def _is_live(connection: Connection, key: AliasKey, number: int) -> bool:
    live = (version_rows.c.task_id == key.task_id) & (version_rows.c.number == number)
    query = select(version_rows.c.id).where(live, version_rows.c.retired_at.is_(None))
    return connection.scalar(query) is not None


def _is(key: AliasKey) -> ColumnElement[bool]:
    return (aliases.c.task_id == key.task_id) & (aliases.c.alias == key.alias)


def _moves_of(key: AliasKey) -> ColumnElement[bool]:
    return (alias_moves.c.task_id == key.task_id) & (alias_moves.c.alias == key.alias)


def _not_found(key: AliasKey) -> AliasNotFound:
    return AliasNotFound(f'Task "{key.task}" has no alias "{key.alias}".')


def _record(task: str, place: Row[Any]) -> AliasRecord:
    return AliasRecord(task, place.alias, place.version, _etag(place), place.moved_at, place.moved_by)


def _etag(place: Row[Any]) -> str:
    return str(place.move_id)
