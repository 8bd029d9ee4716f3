"""Queries about batches and their statuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from prompts_store.batch_errors import BatchNotFound, BatchQueueFull, BatchStatusConflict
from prompts_store.batch_records import INPUT_PURPOSE, BatchFault, BatchRecord, BatchStatus, NewBatch
from prompts_store.sql.batches.tables import batches
from prompts_store.sql.tuning import files
from prompts_store.strict_json import canonical
from prompts_store.tuning_errors import FileInUse, FileNotFound
from prompts_store.tuning_records import FileAccess

UNFINISHED = tuple(status for status in BatchStatus if not status.is_end)
_CANCELLABLE = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING)


def create(connection: Connection, batch: NewBatch, *, max_unfinished: int, access: FileAccess) -> BatchRecord:
    """Add a batch. `access` is that of who asks for it.

    Raises FileNotFound for a file of another purpose or another key, and BatchQueueFull where `max_unfinished` batches
    of the owner have not ended.
    """
    if files.get(connection, batch.input_file, access).purpose != INPUT_PURPOSE:
        raise FileNotFound(f"There is no file of this id with the purpose {INPUT_PURPOSE}.")
    mine = (batches.c.base_fingerprint == batch.fingerprint) & (batches.c.owner == batch.owner)
    unfinished = select(func.count()).select_from(batches).where(mine, batches.c.status.in_(UNFINISHED))
    if (connection.scalar(unfinished) or 0) >= max_unfinished:
        raise BatchQueueFull(
            f"There are batches that have not ended; the maximum of a key is {max_unfinished} (--max-batches)."
        )
    values = {
        "base_fingerprint": batch.fingerprint,
        "owner": batch.owner,
        "endpoint": batch.endpoint,
        "input_file": batch.input_file,
        "completion_window": batch.completion_window,
        "metadata": canonical(dict(batch.metadata)),
        "status": BatchStatus.VALIDATING,
        "created_at": datetime.now(UTC),
        "expires_at": batch.expires_at,
        "faults": "[]",
        **dict.fromkeys(("num_lines", "num_answered", "num_failed", "claim", "num_beats", "fruitless_claims"), 0),
    }
    batch_id: int = connection.scalars(insert(batches).values(values).returning(batches.c.id)).one()
    return get(connection, batch.fingerprint, batch_id)


def get(connection: Connection, fingerprint: str, batch_id: int, *, owner: str | None = None) -> BatchRecord:
    """Return one batch, of this owner if one is given. Raises BatchNotFound."""
    where = (batches.c.id == batch_id) & _visible(fingerprint, owner)
    found = connection.execute(select(batches).where(where)).one_or_none()
    if found is None:
        raise BatchNotFound("There is no batch of this id.")
    return record(found)


def page(
    connection: Connection, fingerprint: str, *, owner: str | None, before: int | None, limit: int
) -> tuple[BatchRecord, ...]:
    """Return the first `limit` batches below the id `before`, newest first."""
    where = _visible(fingerprint, owner)
    if before is not None:
        where &= batches.c.id < before
    query = select(batches).where(where).order_by(batches.c.id.desc()).limit(limit)
    return tuple(record(row) for row in connection.execute(query))


def cancel(connection: Connection, fingerprint: str, batch_id: int, *, owner: str | None) -> BatchRecord:
    """Ask for a batch's end; the server that holds it ends it, or the next one that looks.

    Raises BatchNotFound, and BatchStatusConflict for a batch that has ended. A second call does nothing.
    """
    found = get(connection, fingerprint, batch_id, owner=owner)
    if found.status is BatchStatus.CANCELLING:
        return found
    if found.status not in _CANCELLABLE:
        raise BatchStatusConflict(f"The batch is {found.status}.")
    change(connection, batch_id, {"status": BatchStatus.CANCELLING, "cancelling_at": datetime.now(UTC)})
    return get(connection, fingerprint, batch_id)


def check_unused(connection: Connection, file_id: int, access: FileAccess) -> None:
    """Raise FileInUse if a batch that has not ended needs a file, and FileNotFound if the caller does not see it."""
    files.get(connection, file_id, access)
    using = (batches.c.input_file == file_id) & batches.c.status.in_(UNFINISHED)
    if connection.scalar(select(batches.c.id).where(using).limit(1)) is not None:
        raise FileInUse("A batch that has not ended needs this file.")


def finish(connection: Connection, batch_id: int, status: BatchStatus, faults: Sequence[BatchFault] = ()) -> None:
    """Set a batch's end."""
    ended = {"status": status, "ended_at": datetime.now(UTC), "claimed_by": None}
    if faults:
        ended["faults"] = canonical([asdict(fault) for fault in faults])
    change(connection, batch_id, ended)


def change(connection: Connection, batch_id: int, values: dict[str, Any]) -> None:
    """Set some of a batch's columns."""
    connection.execute(update(batches).where(batches.c.id == batch_id).values(values))


def record(row: Row[Any]) -> BatchRecord:
    """Return a row as a record."""
    return BatchRecord(
        id=row.id,
        fingerprint=row.base_fingerprint,
        owner=row.owner,
        endpoint=row.endpoint,
        input_file=row.input_file,
        completion_window=row.completion_window,
        metadata=json.loads(row.metadata),
        status=BatchStatus(row.status),
        faults=tuple(BatchFault(**fault) for fault in json.loads(row.faults)),
        num_lines=row.num_lines,
        num_answered=row.num_answered,
        num_failed=row.num_failed,
        output_file=row.output_file,
        error_file=row.error_file,
        created_at=row.created_at,
        expires_at=row.expires_at,
        in_progress_at=row.in_progress_at,
        cancelling_at=row.cancelling_at,
        finalizing_at=row.finalizing_at,
        ended_at=row.ended_at,
        claimed_by=row.claimed_by,
    )


def _visible(fingerprint: str, owner: str | None) -> ColumnElement[bool]:
    where = batches.c.base_fingerprint == fingerprint
    return where if owner is None else where & (batches.c.owner == owner)
