"""The current meaning of a task reference."""

from __future__ import annotations

from sqlalchemy import Connection

from prompts_store.errors import StoreCorrupt
from prompts_store.names import TaskReference
from prompts_store.records import AliasRecord, Resolution, VersionRecord
from prompts_store.sql import aliases, versions
from prompts_store.sql.alias_history import AliasKey


def resolve(connection: Connection, fingerprint: str, reference: TaskReference) -> Resolution:
    """Look up a reference. Raises TaskNotFound, VersionNotFound, AliasNotFound and InvalidName."""
    if reference.alias is None:
        assert reference.version is not None
        row = versions.row(connection, fingerprint, reference.task, reference.version)
        return Resolution((versions.record(row),), None, None)
    key = aliases.key(connection, fingerprint, reference.task, reference.alias)
    alias = aliases.get(connection, key)
    shadow = aliases.shadow_of(connection, key)
    return Resolution(
        _named(connection, key, alias), alias, None if shadow is None else _named(connection, key, shadow)[0]
    )


def _named(connection: Connection, key: AliasKey, alias: AliasRecord) -> tuple[VersionRecord, ...]:
    rows = versions.live_rows(connection, key.task_id, [target.version for target in alias.targets])
    if len(rows) != len(alias.targets):
        raise StoreCorrupt(f'Alias "{alias.alias}" of task "{alias.task}" names a version that is not live.')
    return tuple(versions.record(row) for row in rows)
