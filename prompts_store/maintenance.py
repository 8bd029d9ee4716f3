"""Maintenance of a whole store: upgrade, check, verify, collect garbage, back up, restore.

All of it is safe while servers use the store. Verify and backup read one snapshot of the database and block nobody.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, inspect

from prompts_store.errors import BackupExists, BackupUnreadable, StoreNotEmpty, StoreUnavailable
from prompts_store.reports import BackupReport, GcReport, VerifyReport, VersionKey
from prompts_store.sql import changes, purge, verification
from prompts_store.sql.databases import copying, schema
from prompts_store.sql.databases.database import Database
from prompts_store.sql.databases.schema import SchemaStatus
from prompts_store.sql.databases.snapshot import snapshot
from prompts_store.sql.tuning import verification as tuning_verification
from prompts_store.store import ERASE_TIMEOUT_S, Store

GC_GRACE_S = 3600.0
"""Requests that resolved a version before it was retired may still have to load it."""
KEEP_STATES_S = 7 * 86400.0
"""Minimum time for which a failed job can be resumed."""
KEEP_BATCHES_S = 30 * 86400.0
"""Minimum time for which a batch that has ended keeps its files."""

_EXISTS = "A file of this name already exists; give the backup another name."


def require_existing(url: str) -> None:
    """Raise StoreUnavailable if the SQLite file does not exist: opening it would create it."""
    Database(url).require_existing()


def check(url: str) -> SchemaStatus:
    """Return the schema that a database has and the one that this release needs. No database is created.

    Raises SchemaUnsupported and StoreUnavailable.
    """
    database = Database(url)
    database.require_existing()
    try:
        return schema.status(database)
    finally:
        database.close()


def upgrade(url: str) -> SchemaStatus:
    """Bring a database to this release's schema, in one transaction; return what it was.

    An empty database gets the whole schema. Servers of older releases must not run on it any more, unless CHANGELOG.md
    says that they may. Raises SchemaUnsupported, with the database untouched, and StoreUnavailable.
    """
    database = Database(url, patient=True)
    try:
        found = schema.status(database)
        schema.migrate(database)
        return found
    finally:
        database.close()


def verify(store: Store) -> VerifyReport:
    """Read everything and recompute every digest. Raises StoreUnavailable."""
    with store.database.read() as connection:
        return verification.verify(connection)


def gc(
    store: Store,
    *,
    grace_s: float = GC_GRACE_S,
    keep_states_s: float = KEEP_STATES_S,
    keep_batches_s: float = KEEP_BATCHES_S,
    keep: Collection[VersionKey] = (),
) -> GcReport:
    """Free the tensors that are named only by versions retired at least `grace_s` ago.

    `keep` are versions that another version depends on, retired or not. A freed version stays as a tombstone without
    content. Jobs that failed at least `keep_states_s` ago can no longer be resumed. Batches that ended at least
    `keep_batches_s` ago are removed, and files of batches that are as old and that no batch names. Raises
    StoreUnavailable.
    """
    now = datetime.now(UTC)
    retired, failed, batches = (now - timedelta(seconds=age) for age in (grace_s, keep_states_s, keep_batches_s))
    with store.database.write() as connection:
        report = purge.collect_garbage(connection, retired, failed, batches, keep)
    with suppress(StoreUnavailable):  # what is freed stays freed
        store.database.erase_log(ERASE_TIMEOUT_S)
    return report


def backup(store: Store, path: Path) -> BackupReport:
    """Write the whole store, as it is at one moment, into a new SQLite file, itself a store.

    The file appears under its name only when it is complete and on disk. Raises BackupExists, StoreUnavailable, and
    OSError where the folder cannot be written.
    """
    if path.exists():
        raise BackupExists(_EXISTS)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        partial = Path(folder) / "store.db"
        target = Database(str(partial))
        try:
            schema.migrate(target)
            with store.database.read() as source, target.write() as into:
                report = copying.copy(source, into)
            target.become_one_file()
        finally:
            target.close()
        _sync(partial)
        try:
            os.link(partial, path)  # unlike a rename, never over another file
        except FileExistsError as error:
            raise BackupExists(_EXISTS) from error
    _sync(path.parent)
    return report


def restore(path: Path, url: str) -> BackupReport:
    """Fill an empty store, of either database, with a backup of this release or an older one.

    Any SQLite store can be restored from, also one that is open or was left by a process that was killed. All versions,
    numbers, etags and change ids come back as they were; the database is brought to this release's schema first.
    Raises StoreNotEmpty, with the store untouched, BackupUnreadable, SchemaUnsupported, StoreUnavailable and OSError.
    """
    if not path.is_file():
        raise BackupUnreadable("There is no file of this name.")
    with tempfile.TemporaryDirectory() as folder:
        # An older backup is migrated, which the backup itself must not be.
        copied = Path(folder) / "backup.db"
        snapshot(path, copied)
        source, target = Database(str(copied)), Database(url, patient=True)
        try:
            if schema.status(source).current is None:
                raise BackupUnreadable("The file is an empty database; there is nothing to restore.")
            schema.migrate(source)
            if schema.status(target).current is not None:
                with target.read() as found:
                    _require_empty(found)
            schema.migrate(target)
            with source.read() as connection, target.write() as into:
                _require_empty(into)
                return copying.copy(connection, into)
        finally:
            source.close()
            target.close()


def _require_empty(connection: Connection) -> None:
    """Raise StoreNotEmpty if a task was ever written, which leaves a change behind in every release, or files."""
    has_files = inspect(connection).has_table("files") and tuning_verification.num_files(connection) > 0
    if has_files or changes.tail(connection):
        raise StoreNotEmpty("The store is not empty; restore the backup into an empty one.")


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
