"""Alembic: the revision of a database that is not at this release's, and its upgrade.

Only `schema.py` imports this module, and only for such a database: Alembic takes a tenth of a second to import.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from prompts_store.errors import SchemaUnsupported

# Alembic hands its context to env.py through a global.
_turn = threading.Lock()


def read_revision(connection: Connection) -> str | None:
    """The revision of a database that this release can upgrade; None for an empty one. Raises SchemaUnsupported."""
    heads = MigrationContext.configure(connection).get_current_heads()
    if not heads and inspect(connection).get_table_names():
        raise SchemaUnsupported("The database holds other tables and is not a soft prompt store.")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if not set(heads) <= known:
        raise SchemaUnsupported("A newer release wrote the database; it was not changed. Use that release.")
    return heads[0] if heads else None


def upgrade(connection: Connection, to: str) -> None:
    """Bring the database to the revision `to`, in the connection's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    with _turn:
        command.upgrade(config, to)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations").replace("%", "%%"))
    return config
