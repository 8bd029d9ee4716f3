"""Which revision a database is at, and bringing it up to this release's."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from prompts_store.errors import SchemaUnsupported
from prompts_store.sql.database import Database


def migrate(database: Database) -> None:
    """Bring the database to this release's schema, in one transaction; a new file gets the whole of it.

    Raises SchemaUnsupported, with the database as it was, and StoreUnavailable.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    with database.read() as connection:
        if _supported_revision(connection, config) == head:
            return
    database.use_write_ahead_log()
    with database.write() as connection:
        _supported_revision(connection, config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _supported_revision(connection: Connection, config: Config) -> str | None:
    """Return the database's revision, None for an empty one. Raises SchemaUnsupported."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None and inspect(connection).get_table_names():
        raise SchemaUnsupported("The database holds other tables and is not a soft prompt store.")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaUnsupported("The database was written by a newer release; it was left as it is.")
    return revision
