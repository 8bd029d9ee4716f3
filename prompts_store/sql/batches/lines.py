"""Queries about the results of a batch's lines, and the files that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from prompts_store.batch_records import OUTPUT_PURPOSE, LineResult
from prompts_store.sql.batches import batches
from prompts_store.sql.batches.tables import batch_lines
from prompts_store.sql.tuning import files

_ROWS_AT_ONCE = 500
_CHUNK_BYTES = 1024**2


def numbers(connection: Connection, batch_id: int) -> frozenset[int]:
    """Return the numbers of the lines that have a result."""
    return frozenset(connection.scalars(select(batch_lines.c.number).where(batch_lines.c.batch_id == batch_id)))


def add(connection: Connection, batch_id: int, results: Sequence[LineResult]) -> tuple[int, int]:
    """Add results of lines that have none, and return the number of answers and of errors among them."""
    fresh = {result.number: result for result in reversed(results)}
    known = batch_lines.c.number.in_(fresh) if len(fresh) <= _ROWS_AT_ONCE else batch_lines.c.number > 0
    done = select(batch_lines.c.number).where(batch_lines.c.batch_id == batch_id, known)
    for number in connection.scalars(done).all():
        fresh.pop(number, None)
    values = [
        {"batch_id": batch_id, "number": result.number, "is_error": result.is_error, "data": result.data}
        for result in fresh.values()
    ]
    if values:
        connection.execute(insert(batch_lines), values)
    num_errors = sum(result.is_error for result in fresh.values())
    return len(values) - num_errors, num_errors


def write_files(connection: Connection, batch: Row[Any]) -> None:
    """Make the output file and the error file of a batch from its results, in the order of its lines.

    A file without lines is not made. The results are removed: the files have them.
    """
    made = {}
    for column, kind, is_error in (("output_file", "output", False), ("error_file", "error", True)):
        chunks = _chunks(connection, batch.id, is_error)
        if (first := next(chunks, None)) is not None:
            name = f"batch-{batch.id}_{kind}.jsonl"
            made[column] = files.add(connection, name, OUTPUT_PURPOSE, _with(first, chunks), batch.owner).id
    if made:
        batches.change(connection, batch.id, made)
    remove(connection, [batch.id])


def remove(connection: Connection, batch_ids: Sequence[int]) -> None:
    """Remove the results of batches."""
    connection.execute(delete(batch_lines).where(batch_lines.c.batch_id.in_(batch_ids)))


def _with(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _chunks(connection: Connection, batch_id: int, is_error: bool) -> Iterator[bytes]:
    """Yield the lines of a file in pieces of about a MiB, none empty. A page of rows is read at a time."""
    after, piece = 0, bytearray()
    while True:
        where = (batch_lines.c.batch_id == batch_id) & (batch_lines.c.number > after)
        query = select(batch_lines).where(where, batch_lines.c.is_error.is_(is_error))
        found = connection.execute(query.order_by(batch_lines.c.number).limit(_ROWS_AT_ONCE)).all()
        for row in found:
            piece += row.data.encode() + b"\n"
            if len(piece) >= _CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
        if not found:
            break
        after = found[-1].number
    if piece:
        yield bytes(piece)
