"""Queries about uploaded files: one row per file, and its bytes in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, false, insert, select, true, update

from prompts_store.batch_records import BATCH_PURPOSES
from prompts_store.errors import StoreCorrupt
from prompts_store.sql.tuning.tables import file_chunks, files, jobs
from prompts_store.tuning_errors import FileInUse, FileNotFound
from prompts_store.tuning_records import ALL_FILES, FileAccess, FileRecord, JobStatus

UNFINISHED = tuple(status for status in JobStatus if not status.is_end)


def add(connection: Connection, filename: str, purpose: str, chunks: Iterable[bytes], actor: str) -> FileRecord:
    """Store a file chunk by chunk. No chunk may be empty."""
    values = {"filename": filename, "purpose": purpose, "num_bytes": 0, "sha256": ""}
    born = {"created_at": datetime.now(UTC), "created_by": actor}
    file_id: int = connection.scalars(insert(files).values(values | born).returning(files.c.id)).one()
    digest, num_bytes = hashlib.sha256(), 0
    for number, data in enumerate(chunks):
        digest.update(data)
        num_bytes += len(data)
        connection.execute(insert(file_chunks).values(file_id=file_id, number=number, data=data))
    whole = update(files).where(files.c.id == file_id)
    connection.execute(whole.values(num_bytes=num_bytes, sha256=digest.hexdigest()))
    return get(connection, file_id)


def get(connection: Connection, file_id: int, access: FileAccess = ALL_FILES) -> FileRecord:
    """Return one file. Raises FileNotFound."""
    found = connection.execute(select(files).where(files.c.id == file_id, _visible(access))).one_or_none()
    if found is None:
        raise FileNotFound("There is no file of this id.")
    return _record(found)


def page(
    connection: Connection,
    *,
    after: int | None,
    limit: int,
    purpose: str | None,
    newest_first: bool,
    access: FileAccess = ALL_FILES,
) -> tuple[FileRecord, ...]:
    """Return the first `limit` files after the id `after`."""
    where = _visible(access)
    if purpose is not None:
        where &= files.c.purpose == purpose
    if after is not None:
        where &= files.c.id < after if newest_first else files.c.id > after
    order = files.c.id.desc() if newest_first else files.c.id
    return tuple(_record(row) for row in connection.execute(select(files).where(where).order_by(order).limit(limit)))


def content(connection: Connection, file_id: int, access: FileAccess = ALL_FILES) -> bytes:
    """Return a file's bytes, verified by their digest. Raises FileNotFound and StoreCorrupt."""
    record = get(connection, file_id, access)
    query = select(file_chunks.c.data).where(file_chunks.c.file_id == file_id).order_by(file_chunks.c.number)
    data = b"".join(connection.scalars(query))
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise StoreCorrupt(f"File {file_id} does not agree with its digest.")
    return data


def remove(connection: Connection, file_id: int, access: FileAccess = ALL_FILES) -> None:
    """Remove a file. Raises FileNotFound, and FileInUse while a job that has not ended needs it."""
    get(connection, file_id, access)
    using = (jobs.c.training_file == file_id) | (jobs.c.validation_file == file_id)
    job = connection.scalar(select(jobs.c.id).where(using, jobs.c.status.in_(UNFINISHED)).limit(1))
    if job is not None:
        raise FileInUse("A tuning job that has not ended needs this file.")
    erase(connection, file_id)


def erase(connection: Connection, file_id: int) -> int:
    """Remove a file if it exists, and return the number of removed files."""
    connection.execute(delete(file_chunks).where(file_chunks.c.file_id == file_id))
    return connection.execute(delete(files).where(files.c.id == file_id)).rowcount


def _visible(access: FileAccess) -> ColumnElement[bool]:
    is_of_batch = files.c.purpose.in_(BATCH_PURPOSES)
    mine = true() if access.owner is None else files.c.created_by == access.owner
    return (is_of_batch & mine) | (~is_of_batch & (true() if access.sees_examples else false()))


def _record(row: Row[Any]) -> FileRecord:
    return FileRecord(row.id, row.filename, row.purpose, row.num_bytes, row.sha256, row.created_at, row.created_by)
