"""Exact copy of a whole store between databases, row by row, without giving any id a second time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from prompts_store.reports import BackupReport
from prompts_store.sql import changes
from prompts_store.sql.batches.tables import batches
from prompts_store.sql.tables import metadata, tasks, tensors, versions
from prompts_store.sql.tuning.tables import checkpoint_chunks, file_chunks, files, jobs, version_plots

_ROWS_AT_ONCE = 500
_LARGE_AT_ONCE = 8
_LARGE = (tensors, file_chunks, checkpoint_chunks, version_plots)
"""Tables whose rows hold up to some megabytes."""


def copy(source: Connection, target: Connection) -> BackupReport:
    """Copy every row, parents before children, into empty tables of the same schema."""
    for table in metadata.sorted_tables:
        for rows in _pages(source, table):
            target.execute(insert(table), rows)
    for table in _numbered():
        advance(target, table, last_id(source, table))
    return BackupReport(
        num_tasks=count(target, tasks),
        num_versions=count(target, versions),
        num_tensors=count(target, tensors),
        num_files=count(target, files),
        num_jobs=count(target, jobs),
        revision=changes.tail(target),
        num_batches=count(target, batches),
    )


def count(connection: Connection, table: Table) -> int:
    """Return the number of rows of a table."""
    return connection.scalar(select(func.count()).select_from(table)) or 0


def last_id(connection: Connection, table: Table) -> int:
    """Return the last id ever given, also to a row that is gone."""
    if connection.dialect.name == "postgresql":
        query = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table.name}_id_seq"
    else:
        query = f"SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'"
    return connection.exec_driver_sql(query).scalar() or 0


def advance(connection: Connection, table: Table, last_id: int) -> None:
    """Let the next id be above `last_id`. The table's own rows are at most there."""
    if last_id == 0:
        return
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT setval('{table.name}_id_seq', {last_id})")
        return
    changed = connection.exec_driver_sql(f"UPDATE sqlite_sequence SET seq = {last_id} WHERE name = '{table.name}'")
    if changed.rowcount == 0:
        connection.exec_driver_sql(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('{table.name}', {last_id})")


def _pages(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Yield a table's rows by primary key, a few at a time. So a move comes after its parent."""
    size = _LARGE_AT_ONCE if table in _LARGE else _ROWS_AT_ONCE
    query = select(table).order_by(*table.primary_key.columns)
    with source.execution_options(yield_per=size).execute(query) as result:
        for rows in result.mappings().partitions():
            yield [dict(row) for row in rows]


def _numbered() -> list[Table]:
    return [table for table in metadata.sorted_tables if "id" in table.c]
