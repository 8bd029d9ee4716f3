"""Queries about aliases, and their moves."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from prompts_store.errors import NoPreviousVersion, PreconditionFailed, ShadowExists
from prompts_store.names import check_alias_name
from prompts_store.records import AliasRecord, AliasTarget, ChangeKind, main_version
from prompts_store.sql import alias_history, changes, versions
from prompts_store.sql.alias_history import AliasKey, Author, Place
from prompts_store.sql.tables import alias_moves, alias_targets, aliases
from prompts_store.sql.tasks import task_id
from prompts_store.targets import check_one_task_type, targets_from_json

ANY_ETAG = "*"

# Each alias with its latest move, which has the alias's own `shadow_of`.
_PLACES = select(alias_moves).join(aliases, alias_moves.c.id == aliases.c.move_id)


def key(connection: Connection, fingerprint: str, task: str, alias: str) -> AliasKey:
    """Look up the task of an alias. Raises TaskNotFound and InvalidName."""
    check_alias_name(alias)
    return AliasKey(fingerprint, task, task_id(connection, fingerprint, task), alias)


def get(connection: Connection, key: AliasKey) -> AliasRecord:
    """Return an alias. Raises AliasNotFound."""
    return _record(key.task, _existing(connection, key))


def all_of(connection: Connection, fingerprint: str, task: str) -> tuple[AliasRecord, ...]:
    """Return a task's aliases by name. Raises TaskNotFound and InvalidName."""
    query = _PLACES.where(aliases.c.task_id == task_id(connection, fingerprint, task)).order_by(aliases.c.alias)
    return tuple(_record(task, place) for place in connection.execute(query))


def shadow_of(connection: Connection, key: AliasKey) -> AliasRecord | None:
    """Return the alias that is this one's shadow."""
    shadowing = (aliases.c.task_id == key.task_id) & (aliases.c.shadow_of == key.alias)
    found = connection.execute(_PLACES.where(shadowing)).one_or_none()
    return None if found is None else _record(key.task, found)


def etag(connection: Connection, key: AliasKey) -> str | None:
    """Return the etag of an alias, None if it does not exist."""
    current = _current(connection, key)
    return None if current is None else _etag(current)


def put(
    connection: Connection, key: AliasKey, to: Place, *, if_match: str | None, must_not_exist: bool, author: Author
) -> AliasRecord:
    """Move or create an alias. Every accepted call is a move, even to the same targets.

    Raises PreconditionFailed, VersionNotFound unless every version is live, InvalidTargets unless all are of one task
    type, and ShadowExists.
    """
    current = _current(connection, key)
    if must_not_exist and current is not None:
        raise PreconditionFailed(f'Alias "{key.alias}" already exists; send If-Match with its ETag to move it.')
    _check_match(key, current, if_match)
    rows = [versions.row(connection, key.fingerprint, key.task, target.version) for target in to.targets]
    check_one_task_type([versions.record(row) for row in rows])
    return _move(connection, key, current, to, _parent(connection, key, current), author)


def promote(connection: Connection, key: AliasKey, version: int, author: Author) -> None:
    """Move or create an alias unconditionally. No move if it already names only this version."""
    current = _current(connection, key)
    if current is None or [target.version for target in targets_from_json(current.targets)] != [version]:
        _move(connection, key, current, Place((AliasTarget(version),)), _parent(connection, key, current), author)


def remove(connection: Connection, key: AliasKey, *, if_match: str | None, author: Author) -> None:
    """Delete an alias; its history stays. Raises AliasNotFound and PreconditionFailed."""
    current = _existing(connection, key)
    _check_match(key, current, if_match)
    alias_history.log(connection, key.task_id, key.alias, None, current.id, author)
    _clear(connection, _is(key), _targets_of(key))
    actor = author.actor
    changes.record(connection, ChangeKind.ALIAS_DELETED, key.fingerprint, key.task, alias=key.alias, actor=actor)


def remove_all(connection: Connection, task: int, author: Author) -> None:
    """Delete a task's aliases; their history stays."""
    for place in connection.execute(select(aliases).where(aliases.c.task_id == task)).all():
        alias_history.log(connection, task, place.alias, None, place.move_id, author)
    _clear(connection, aliases.c.task_id == task, alias_targets.c.task_id == task)


def rollback(connection: Connection, key: AliasKey, author: Author) -> AliasRecord:
    """Undo the last move that has not been undone.

    Skips moves to a version that is retired now, and those to versions of different task types, which an earlier
    release made.

    Raises AliasNotFound, NoPreviousVersion, and ShadowExists if another alias is the shadow now.
    """
    current = _existing(connection, key)
    parent_id = current.parent_id
    while parent_id is not None:
        move = connection.execute(select(alias_moves).where(alias_moves.c.id == parent_id)).one()
        place = _place(move)
        if place.targets and place != _place(current) and _can_answer(connection, key, place.targets):
            return _move(connection, key, current, place, move.parent_id, author)
        parent_id = move.parent_id
    raise NoPreviousVersion(f'Alias "{key.alias}" of task "{key.task}" has no earlier live version.')


def _move(
    connection: Connection, key: AliasKey, current: Row[Any] | None, to: Place, parent_id: int | None, author: Author
) -> AliasRecord:
    _check_only_shadow(connection, key, to.shadow_of)
    move_id = alias_history.log(connection, key.task_id, key.alias, to, parent_id, author)
    where = {"shadow_of": to.shadow_of, "move_id": move_id}
    if current is None:
        connection.execute(insert(aliases).values(task_id=key.task_id, alias=key.alias, **where))
    else:
        connection.execute(delete(alias_targets).where(_targets_of(key)))
        connection.execute(update(aliases).where(_is(key)).values(where))
    of_this = {"task_id": key.task_id, "alias": key.alias}
    rows = [of_this | {"version": target.version, "weight": target.weight} for target in to.targets]
    connection.execute(insert(alias_targets), rows)
    changes.record(
        connection,
        ChangeKind.ALIAS_MOVED,
        key.fingerprint,
        key.task,
        version=main_version(to.targets),
        alias=key.alias,
        actor=author.actor,
    )
    return get(connection, key)


def _clear(connection: Connection, places: ColumnElement[bool], targets: ColumnElement[bool]) -> None:
    connection.execute(delete(alias_targets).where(targets))
    connection.execute(delete(aliases).where(places))


def _parent(connection: Connection, key: AliasKey, current: Row[Any] | None) -> int | None:
    """Return the move to which a rollback of the next move returns."""
    return alias_history.last(connection, key) if current is None else int(current.id)


def _check_match(key: AliasKey, current: Row[Any] | None, if_match: str | None) -> None:
    if if_match is None:
        return
    if current is None or if_match not in (ANY_ETAG, _etag(current)):
        raise PreconditionFailed(f'Alias "{key.alias}" does not have the ETag in If-Match; read it again.')


def _check_only_shadow(connection: Connection, key: AliasKey, of: str | None) -> None:
    if of is None:
        return
    taken = (aliases.c.task_id == key.task_id) & (aliases.c.shadow_of == of) & (aliases.c.alias != key.alias)
    other = connection.scalar(select(aliases.c.alias).where(taken))
    if other is not None:
        raise ShadowExists(f'Alias "{of}" already has the shadow "{other}"; an alias has at most one.')


def _existing(connection: Connection, key: AliasKey) -> Row[Any]:
    current = _current(connection, key)
    if current is None:
        raise alias_history.not_found(key)
    return current


def _current(connection: Connection, key: AliasKey) -> Row[Any] | None:
    return connection.execute(_PLACES.where(_is(key))).one_or_none()


def _can_answer(connection: Connection, key: AliasKey, targets: tuple[AliasTarget, ...]) -> bool:
    """Whether all targets are live, and of one task type."""
    numbers = [target.version for target in targets]
    live = [versions.record(row) for row in versions.live_rows(connection, key.task_id, numbers)]
    return len(live) == len(numbers) and len({version.head_type for version in live}) == 1


def _is(key: AliasKey) -> ColumnElement[bool]:
    return (aliases.c.task_id == key.task_id) & (aliases.c.alias == key.alias)


def _targets_of(key: AliasKey) -> ColumnElement[bool]:
    return (alias_targets.c.task_id == key.task_id) & (alias_targets.c.alias == key.alias)


def _place(move: Row[Any]) -> Place:
    return Place(targets_from_json(move.targets), move.shadow_of)


def _etag(move: Row[Any]) -> str:
    return str(move.id)


def _record(task: str, move: Row[Any]) -> AliasRecord:
    return AliasRecord(
        task=task,
        alias=move.alias,
        targets=targets_from_json(move.targets),
        shadow_of=move.shadow_of,
        etag=_etag(move),
        updated_at=move.moved_at,
        updated_by=move.moved_by,
        reason=move.reason,
    )
