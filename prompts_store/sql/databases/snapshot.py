"""A copy of one snapshot of a SQLite file, which other processes may have open or have left behind."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prompts_store.errors import BackupUnreadable, StoreFull
from prompts_store.sql.databases.sqlite import BUSY_TIMEOUT_S

_REASONS = {
    sqlite3.SQLITE_NOTADB: "The file is not a SQLite database.",
    sqlite3.SQLITE_CORRUPT: "The file is damaged or cut off.",
    sqlite3.SQLITE_BUSY: "Another program keeps the file locked.",
    sqlite3.SQLITE_READONLY: "The file holds an unfinished write; run `softprompt db check` on it first to undo that.",
    sqlite3.SQLITE_CANTOPEN: "SQLite cannot read the log beside the file; copy both to a writable folder.",
}


def snapshot(path: Path, copy: Path) -> None:
    """Copy a SQLite file to a new one, including the writes in its write-ahead log. The file itself does not change.

    Other processes may write to it, or a killed process may have left it. Raises BackupUnreadable, StoreFull if the
    disk has no room for the copy, and OSError if the file cannot be opened.
    """
    path.open("rb").close()
    with _unreadable(), closing(_open(path.resolve())) as source, closing(sqlite3.connect(copy)) as target:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema")  # what others commit from here on is not seen
        source.backup(target)
        (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BackupUnreadable(_REASONS[sqlite3.SQLITE_CORRUPT])


def _open(file: Path) -> sqlite3.Connection:
    """Open a file that must not be changed; SQLite may make an index of its log beside it."""
    is_whole = not any(file.with_name(f"{file.name}{end}").exists() for end in ("-wal", "-journal"))
    # Where it can make no index, SQLite must be told that there is no log and no writer.
    mode = "immutable=1" if is_whole and not os.access(file.parent, os.W_OK) else "mode=ro"
    return sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


@contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without what extends it
        if code == sqlite3.SQLITE_FULL:
            raise StoreFull("There is no room for a copy of the file.") from error
        raise BackupUnreadable(_REASONS.get(code, "SQLite cannot read the file.")) from error
