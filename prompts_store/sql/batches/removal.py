"""Removal of batches and their files, for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, or_, select

from prompts_store.batch_records import BATCH_PURPOSES
from prompts_store.sql.batches import lines
from prompts_store.sql.batches.batches import UNFINISHED
from prompts_store.sql.batches.tables import batch_tasks, batches
from prompts_store.sql.tuning import files
from prompts_store.sql.tuning.tables import files as file_rows

_BATCH = 500


def of_task(connection: Connection, fingerprint: str, task: str) -> tuple[int, int]:
    """Remove the batches with a line for a task, running ones too, and their files; return the number of each.

    A file stays that another batch names as its input.
    """
    query = select(batches.c.id).join(batch_tasks, batch_tasks.c.batch_id == batches.c.id)
    found = connection.scalars(query.where(batches.c.base_fingerprint == fingerprint, batch_tasks.c.task == task)).all()
    named = _remove(connection, found)
    alone = [file_id for file_id in sorted(named) if not _is_named(connection, file_id)]
    return len(found), sum(files.erase(connection, file_id) for file_id in alone)


def older(connection: Connection, before: datetime) -> tuple[int, int]:
    """Remove the batches that ended before a time, and the files of batches made before it; return the number of each.

    A file stays that another batch names.
    """
    ended = batches.c.status.not_in(UNFINISHED) & (batches.c.ended_at <= before)
    found = connection.scalars(select(batches.c.id).where(ended)).all()
    named = _remove(connection, found)
    old = file_rows.c.purpose.in_(BATCH_PURPOSES) & (file_rows.c.created_at <= before)
    named.update(connection.scalars(select(file_rows.c.id).where(old)))
    alone = [file_id for file_id in sorted(named) if not _is_named(connection, file_id)]
    return len(found), sum(files.erase(connection, file_id) for file_id in alone)


def _remove(connection: Connection, batch_ids: Sequence[int]) -> set[int]:
    """Remove batches, and return the files that they named."""
    named: set[int] = set()
    for begin in range(0, len(batch_ids), _BATCH):
        some = batch_ids[begin : begin + _BATCH]
        columns = (batches.c.input_file, batches.c.output_file, batches.c.error_file)
        for row in connection.execute(select(*columns).where(batches.c.id.in_(some))):
            named.update(file_id for file_id in row if file_id is not None)
        lines.remove(connection, some)
        connection.execute(delete(batch_tasks).where(batch_tasks.c.batch_id.in_(some)))
        connection.execute(delete(batches).where(batches.c.id.in_(some)))
    return named


def _is_named(connection: Connection, file_id: int) -> bool:
    columns = (batches.c.input_file, batches.c.output_file, batches.c.error_file)
    named = or_(*(column == file_id for column in columns))
    return connection.scalar(select(batches.c.id).where(named).limit(1)) is not None
