"""Queries about the moves of an alias. Each move is a row that is never changed; only a purge removes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, func, insert, select

from prompts_store.errors import AliasNotFound
from prompts_store.records import AliasMove, AliasTarget
from prompts_store.sql.tables import alias_moves
from prompts_store.targets import targets_from_json, targets_to_json


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a move, and the reason."""

    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """The targets of an alias, and the alias that it shadows."""

    targets: tuple[AliasTarget, ...]
    shadow_of: str | None = None


@dataclass(frozen=True, slots=True)
class AliasKey:
    """A live task's alias, which may or may not exist now."""

    fingerprint: str
    task: str
    task_id: int
    alias: str


def history(connection: Connection, key: AliasKey, limit: int) -> tuple[AliasMove, ...]:
    """Return the last `limit` moves, newest first. Raises AliasNotFound if there never was one."""
    query = select(alias_moves).where(_moves_of(key)).order_by(alias_moves.c.id.desc()).limit(limit + 1)
    moves = connection.execute(query).all()
    if not moves:
        raise not_found(key)
    before = [targets_from_json(move.targets) for move in moves[1:]] + [()]
    return tuple(
        AliasMove(
            task=key.task,
            alias=key.alias,
            from_targets=from_targets,
            to_targets=targets_from_json(move.targets),
            shadow_of=move.shadow_of,
            moved_at=move.moved_at,
            moved_by=move.moved_by,
            reason=move.reason,
        )
        for move, from_targets in zip(moves[:limit], before, strict=False)
    )


def log(connection: Connection, task: int, alias: str, to: Place | None, parent_id: int | None, author: Author) -> int:
    """Add a move to the history and return its id. `to` is None for a deletion."""
    values = {
        "task_id": task,
        "alias": alias,
        "targets": None if to is None else targets_to_json(to.targets),
        "shadow_of": None if to is None else to.shadow_of,
        "parent_id": parent_id,
        "moved_at": datetime.now(UTC),
        "moved_by": author.actor,
        "reason": author.reason,
    }
    move_id: int = connection.scalars(insert(alias_moves).values(values).returning(alias_moves.c.id)).one()
    return move_id


def last(connection: Connection, key: AliasKey) -> int | None:
    """Return the alias's last move, None if there never was one."""
    found: int | None = connection.scalar(select(func.max(alias_moves.c.id)).where(_moves_of(key)))
    return found


def not_found(key: AliasKey) -> AliasNotFound:
    """Return the error for an alias that does not exist."""
    return AliasNotFound(f'Task "{key.task}" has no alias "{key.alias}".')


def _moves_of(key: AliasKey) -> ColumnElement[bool]:
    return (alias_moves.c.task_id == key.task_id) & (alias_moves.c.alias == key.alias)
