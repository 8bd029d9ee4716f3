"""The schema revision of a database, and its upgrade to this release's."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, inspect, text

from prompts_store.errors import SchemaOutdated
from prompts_store.sql.databases.database import Database

NEEDED = "0007"
"""The revision that this release needs: the newest of `migrations/versions`."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The revision of a database, None for an empty one, and the revision that this release needs."""

    current: str | None
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether a store can be opened without a migration."""
        return self.current == self.needed


def status(database: Database) -> SchemaStatus:
    """Return the database's revision. Raises SchemaUnsupported and StoreUnavailable; changes nothing."""
    with database.read() as connection:
        return _status(connection)


def require_current(database: Database) -> None:
    """Raise SchemaOutdated unless the database is at this release's revision; SchemaUnsupported, StoreUnavailable."""
    if not status(database).is_current:
        raise SchemaOutdated("The database needs an upgrade; run: softprompt db upgrade")


def migrate(database: Database, *, to: str = "head") -> None:
    """Bring the database to this release's schema, in one transaction; an empty one gets the whole of it.

    `to` stops at an earlier revision, of a database that is not there yet.

    Raises SchemaUnsupported, with the database as it was, and StoreUnavailable.
    """
    found = status(database)
    database.prepare()
    if found.is_current:
        return
    from prompts_store.sql.databases.upgrade import upgrade

    with database.write() as connection:
        _status(connection)
        upgrade(connection, to)


def _status(connection: Connection) -> SchemaStatus:
    if _is_current(connection):
        return SchemaStatus(NEEDED, NEEDED)
    from prompts_store.sql.databases.upgrade import read_revision

    return SchemaStatus(read_revision(connection), NEEDED)


def _is_current(connection: Connection) -> bool:
    """Read what Alembic recorded, without Alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return list(connection.scalars(text("SELECT version_num FROM alembic_version"))) == [NEEDED]
