"""Which revision a database is at, and bringing it up to this release's."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from prompts_store.errors import SchemaUnsupported
from prompts_store.sql.database import Database

# Alembic hands its context to env.py through a global.
_alembic_turn = threading.Lock()


def migrate(database: Database) -> None:
    """Bring the database to this release's schema, in one transaction; a new file gets the whole of it.

    Raises SchemaUnsupported, with the database as it was, and StoreUnavailable.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with database.read() as connection:
        heads = _supported_heads(connection, scripts)
    database.use_write_ahead_log()
    if heads == set(scripts.get_heads()):
        return
    with _alembic_turn, database.write() as connection:
        _supported_heads(connection, scripts)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _supported_heads(connection: Connection, scripts: ScriptDirectory) -> set[str]:
    """Return the revisions that the database is at, none for an empty one. Raises SchemaUnsupported."""
    heads = set(MigrationContext.configure(connection).get_current_heads())
    if not heads and inspect(connection).get_table_names():
        raise SchemaUnsupported("The database holds other tables and is not a soft prompt store.")
    if not heads <= {script.revision for script in scripts.walk_revisions()}:
        raise SchemaUnsupported("The database was written by a newer release; it was left as it is.")
    return heads
