"""The schema revision of a database, and its upgrade to this release's."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from prompts_store.errors import SchemaOutdated, SchemaUnsupported
from prompts_store.sql.databases.database import Database

# Alembic hands its context to env.py through a global.
_alembic_turn = threading.Lock()


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
    scripts = ScriptDirectory.from_config(_config())
    with database.read() as connection:
        return _status(connection, scripts)


def require_current(database: Database) -> None:
    """Raise SchemaOutdated unless the database is at this release's revision; SchemaUnsupported, StoreUnavailable."""
    if not status(database).is_current:
        raise SchemaOutdated("The database needs an upgrade; run: softprompt db upgrade")


def migrate(database: Database, *, to: str = "head") -> None:
    """Bring the database to this release's schema, in one transaction; an empty one gets the whole of it.

    `to` stops at an earlier revision, of a database that is not there yet.

    Raises SchemaUnsupported, with the database as it was, and StoreUnavailable.
    """
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    found = status(database)
    database.prepare()
    if found.is_current:
        return
    with _alembic_turn, database.write() as connection:
        _status(connection, scripts)
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations").replace("%", "%%"))
    return config


def _status(connection: Connection, scripts: ScriptDirectory) -> SchemaStatus:
    heads = MigrationContext.configure(connection).get_current_heads()
    if not heads and inspect(connection).get_table_names():
        raise SchemaUnsupported("The database holds other tables and is not a soft prompt store.")
    if not set(heads) <= {script.revision for script in scripts.walk_revisions()}:
        raise SchemaUnsupported("A newer release wrote the database; it was not changed. Use that release.")
    needed = scripts.get_current_head()
    assert needed is not None
    return SchemaStatus(heads[0] if heads else None, needed)
