"""Queries about a job's events and checkpoints."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from prompts_store.errors import StoreCorrupt
from prompts_store.sql.tuning.tables import checkpoint_chunks, job_checkpoints, job_events
from prompts_store.strict_json import canonical
from prompts_store.tuning_records import JobCheckpoint, JobEvent, NewEvent

_CHUNK_BYTES = 1024**2


def append(connection: Connection, job_id: int, events: Sequence[NewEvent]) -> None:
    """Add events in order."""
    now = datetime.now(UTC)
    rows = [
        {
            "job_id": job_id,
            "created_at": now,
            "level": event.level,
            "kind": event.kind,
            "message": event.message,
            "data": canonical(dict(event.data)),
        }
        for event in events
    ]
    if rows:
        connection.execute(insert(job_events), rows)


def events(connection: Connection, job_id: int, *, before: int | None, limit: int) -> tuple[JobEvent, ...]:
    """Return the first `limit` events below the id `before`, newest first."""
    query = select(job_events).where(job_events.c.job_id == job_id)
    if before is not None:
        query = query.where(job_events.c.id < before)
    rows = connection.execute(query.order_by(job_events.c.id.desc()).limit(limit))
    return tuple(
        JobEvent(row.id, row.created_at, row.level, row.kind, row.message, json.loads(row.data)) for row in rows
    )


def save_checkpoint(connection: Connection, job_id: int, step: int, metrics: Mapping[str, Any], state: bytes) -> None:
    """Add a checkpoint. Its state replaces that of the checkpoint before it."""
    drop_states(connection, [job_id])
    values = {
        "job_id": job_id,
        "created_at": datetime.now(UTC),
        "step": step,
        "metrics": canonical(dict(metrics)),
        "sha256": hashlib.sha256(state).hexdigest(),
    }
    query = insert(job_checkpoints).values(values).returning(job_checkpoints.c.id)
    checkpoint_id: int = connection.scalars(query).one()
    for number, begin in enumerate(range(0, len(state), _CHUNK_BYTES)):
        chunk = {"checkpoint_id": checkpoint_id, "number": number, "data": state[begin : begin + _CHUNK_BYTES]}
        connection.execute(insert(checkpoint_chunks).values(chunk))


def checkpoints(connection: Connection, job_id: int, *, before: int | None, limit: int) -> tuple[JobCheckpoint, ...]:
    """Return the first `limit` checkpoints below the id `before`, newest first."""
    columns = (job_checkpoints.c.id, job_checkpoints.c.created_at, job_checkpoints.c.step, job_checkpoints.c.metrics)
    query = select(*columns).where(job_checkpoints.c.job_id == job_id)
    if before is not None:
        query = query.where(job_checkpoints.c.id < before)
    rows = connection.execute(query.order_by(job_checkpoints.c.id.desc()).limit(limit))
    return tuple(JobCheckpoint(row.id, row.created_at, row.step, json.loads(row.metrics)) for row in rows)


def latest_state(connection: Connection, job_id: int) -> bytes | None:
    """Return what a job goes on from. Raises StoreCorrupt."""
    kept = select(checkpoint_chunks.c.checkpoint_id).distinct()
    query = select(job_checkpoints.c.id, job_checkpoints.c.sha256)
    query = query.where(job_checkpoints.c.job_id == job_id, job_checkpoints.c.id.in_(kept))
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    state, digest = io.BytesIO(), hashlib.sha256()  # one copy: a state may have a gigabyte
    chunks = select(checkpoint_chunks.c.data).where(checkpoint_chunks.c.checkpoint_id == found.id)
    for data in connection.scalars(chunks.order_by(checkpoint_chunks.c.number).execution_options(yield_per=1)):
        digest.update(data)
        state.write(data)
    if digest.hexdigest() != found.sha256:
        raise StoreCorrupt(f"The checkpoint of job {job_id} does not agree with its digest.")
    return state.getvalue()


def has_state(connection: Connection, job_id: int) -> bool:
    """Tell whether a job has a state to go on from."""
    of_job = select(job_checkpoints.c.id).where(job_checkpoints.c.job_id == job_id)
    chunks = select(checkpoint_chunks.c.checkpoint_id).where(checkpoint_chunks.c.checkpoint_id.in_(of_job))
    return connection.scalar(chunks.limit(1)) is not None


def drop_states(connection: Connection, job_ids: Collection[int]) -> None:
    """Forget the bytes of these jobs' checkpoints."""
    of_jobs = select(job_checkpoints.c.id).where(job_checkpoints.c.job_id.in_(job_ids))
    connection.execute(delete(checkpoint_chunks).where(checkpoint_chunks.c.checkpoint_id.in_(of_jobs)))
