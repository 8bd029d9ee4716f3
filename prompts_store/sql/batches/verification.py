"""Checks of the rules of batches."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from prompts_store.sql.batches.batches import UNFINISHED
from prompts_store.sql.batches.tables import batch_lines, batches
from prompts_store.sql.tuning.tables import files


def problems(connection: Connection) -> Iterator[str]:
    """Yield the problems of batches, as sentences.

    A batch that has not ended has its input file, and a result for each line that it counts. One that has ended has a
    time of its end, no claim and no results.
    """
    known = set(connection.scalars(select(files.c.id)))
    counts = select(batch_lines.c.batch_id, func.count()).group_by(batch_lines.c.batch_id)
    num_results = {batch_id: number for batch_id, number in connection.execute(counts)}
    for batch in connection.execute(select(batches).order_by(batches.c.id)):
        kept = num_results.get(batch.id, 0)
        if batch.status in UNFINISHED:
            if batch.input_file not in known:
                yield f"Batch {batch.id} lacks its input file."
            if batch.ended_at is not None:
                yield f"Batch {batch.id} is {batch.status} but has ended."
            if kept != batch.num_answered + batch.num_failed:
                yield f"Batch {batch.id} counts {batch.num_answered + batch.num_failed} results but keeps {kept}."
        elif batch.ended_at is None or batch.claimed_by is not None or kept:
            yield f"Batch {batch.id} is {batch.status} but has not ended."
