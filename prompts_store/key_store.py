"""API keys in the store: every public operation is one transaction."""

from __future__ import annotations

from prompts_store.keys import (
    CreatedKey,
    KeyGrant,
    KeyRecord,
    KeyTable,
    check_grant,
    check_key_name,
    digest_of,
    new_secret,
)
from prompts_store.sql import keys
from prompts_store.sql.databases.database import Database


class KeyStore:
    """API keys by name. Every method may raise StoreUnavailable. `actor` is the author in the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_key(self, grant: KeyGrant, *, actor: str = "") -> CreatedKey:
        """Create an API key. Only its digest is stored. Raises InvalidKey, InvalidName and KeyExists."""
        check_grant(grant)
        secret = new_secret()
        with self._database.write() as connection:
            return CreatedKey(keys.create(connection, grant, digest_of(secret), actor), secret)

    def revoke_key(self, name: str, *, actor: str = "") -> KeyRecord:
        """Revoke a key for good. A second call does nothing. Raises KeyNotFound, and InvalidKey for an invalid name."""
        check_key_name(name)
        with self._database.write() as connection:
            return keys.revoke(connection, name, actor)

    def list_keys(self, *, after: str | None = None, limit: int = 100) -> tuple[KeyRecord, ...]:
        """Return keys by name, revoked ones too: the first `limit` after the name `after`. Raises InvalidKey."""
        if after is not None:
            check_key_name(after)
        with self._database.read() as connection:
            return keys.page(connection, after, limit)

    def key_table(self) -> KeyTable:
        """Return the keys that are not revoked, and whether there ever was one."""
        with self._database.read() as connection:
            return keys.table(connection)
