"""Queries about API keys. No row is ever removed: a name is given once, and the server knows that it once had keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from prompts_store.errors import KeyExists, KeyNotFound
from prompts_store.keys import KeyGrant, KeyLimits, KeyRecord, KeyTable, check_digest
from prompts_store.records import ChangeKind
from prompts_store.sql import changes
from prompts_store.sql.tables import keys


def create(connection: Connection, grant: KeyGrant, sha256: str, actor: str) -> KeyRecord:
    """Add a key. Raises KeyExists, also for a name of a revoked key."""
    check_digest(sha256)
    if connection.scalar(select(keys.c.name).where(keys.c.name == grant.name)) is not None:
        raise KeyExists("A key has or had this name; choose another one.")
    row = connection.execute(insert(keys).values(_values(grant, sha256, actor)).returning(*keys.c)).one()
    changes.record(connection, ChangeKind.KEY_CREATED, key=grant.name, actor=actor)
    return _record(row)


def revoke(connection: Connection, name: str, actor: str) -> KeyRecord:
    """Revoke a key. A revoked key stays unchanged. Raises KeyNotFound."""
    found = get(connection, name)
    if found.revoked_at is not None:
        return found
    revoked = update(keys).where(keys.c.name == name).values(revoked_at=datetime.now(UTC), revoked_by=actor)
    connection.execute(revoked)
    changes.record(connection, ChangeKind.KEY_REVOKED, key=name, actor=actor)
    return get(connection, name)


def get(connection: Connection, name: str) -> KeyRecord:
    """Return one key, revoked or not. Raises KeyNotFound."""
    row = connection.execute(select(keys).where(keys.c.name == name)).one_or_none()
    if row is None:
        raise KeyNotFound("There is no key of this name.")
    return _record(row)


def page(connection: Connection, after: str | None, limit: int) -> tuple[KeyRecord, ...]:
    """Return keys by name, revoked ones too: the first `limit` after the name `after`."""
    query = select(keys).order_by(keys.c.name).limit(limit)
    if after is not None:
        query = query.where(keys.c.name > after)
    return tuple(_record(row) for row in connection.execute(query))


def table(connection: Connection) -> KeyTable:
    """Return the keys that are not revoked, and whether a key was ever created."""
    rows = connection.execute(select(keys).where(keys.c.revoked_at.is_(None)).order_by(keys.c.name)).all()
    ever = bool(rows) or connection.scalar(select(keys.c.name).limit(1)) is not None
    return KeyTable(tuple(map(_record, rows)), ever)


def _values(grant: KeyGrant, sha256: str, actor: str) -> dict[str, Any]:
    limits = grant.limits
    return {
        "name": grant.name,
        "sha256": sha256,
        "scopes": " ".join(sorted(grant.scopes)),
        "tasks": None if grant.tasks is None else " ".join(sorted(set(grant.tasks))),
        "expires_at": grant.expires_at,
        "best_priority": grant.best_priority,
        "max_requests_per_minute": limits.max_requests_per_minute,
        "max_tokens_per_minute": limits.max_tokens_per_minute,
        "max_concurrent": limits.max_concurrent,
        "salt": grant.salt,
        "created_at": datetime.now(UTC),
        "created_by": actor,
    }


def _record(row: Row[Any]) -> KeyRecord:
    grant = KeyGrant(
        name=row.name,
        scopes=frozenset(row.scopes.split()),
        tasks=None if row.tasks is None else tuple(row.tasks.split()),
        expires_at=row.expires_at,
        best_priority=row.best_priority,
        limits=KeyLimits(row.max_requests_per_minute, row.max_tokens_per_minute, row.max_concurrent),
        salt=row.salt,
    )
    return KeyRecord(grant, row.sha256, row.created_at, row.created_by, row.revoked_at, row.revoked_by)
