"""Queries about tuning jobs: where they are, and who asks for a change of that."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from prompts_store.errors import FileNotFound, JobNotFound, JobStatusConflict, QueueFull
from prompts_store.sql import job_log
from prompts_store.sql.files import UNFINISHED
from prompts_store.sql.tuning_tables import files, jobs
from prompts_store.strict_json import canonical
from prompts_store.tuning_records import JobError, JobRecord, JobStatus, NewEvent, NewJob

_RESUMABLE = (JobStatus.PAUSED,)
_PAUSABLE = (JobStatus.QUEUED, JobStatus.RUNNING)


def create(connection: Connection, job: NewJob, *, max_unfinished: int, actor: str) -> JobRecord:
    """Add a job. Raises FileNotFound, and QueueFull where `max_unfinished` jobs of its base have not ended."""
    for file_id in (job.training_file, job.validation_file):
        if file_id is not None and connection.scalar(select(files.c.id).where(files.c.id == file_id)) is None:
            raise FileNotFound("There is no file of this id.")
    unfinished = (jobs.c.base_fingerprint == job.fingerprint) & jobs.c.status.in_(UNFINISHED)
    if (connection.scalar(select(func.count()).select_from(jobs).where(unfinished)) or 0) >= max_unfinished:
        raise QueueFull(f"There are {max_unfinished} tuning jobs that have not ended.")
    values = {
        "base_fingerprint": job.fingerprint,
        "task": job.task,
        "status": JobStatus.VALIDATING_FILES,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "seed": job.seed,
        "request": canonical(dict(job.request)),
        "created_at": datetime.now(UTC),
        "created_by": actor,
        "metrics": "{}",
        "claim": 0,
        "num_beats": 0,
    }
    job_id: int = connection.scalars(insert(jobs).values(values).returning(jobs.c.id)).one()
    job_log.append(connection, job_id, [NewEvent("The job was created.")])
    return get(connection, job.fingerprint, job_id)


def get(connection: Connection, fingerprint: str, job_id: int) -> JobRecord:
    """Return one job. Raises JobNotFound."""
    query = select(jobs).where(jobs.c.id == job_id, jobs.c.base_fingerprint == fingerprint)
    found = connection.execute(query).one_or_none()
    if found is None:
        raise JobNotFound("There is no tuning job of this id.")
    return record(found)


def page(connection: Connection, fingerprint: str, *, before: int | None, limit: int) -> tuple[JobRecord, ...]:
    """Return the first `limit` jobs below the id `before`, newest first."""
    where: ColumnElement[bool] = jobs.c.base_fingerprint == fingerprint
    if before is not None:
        where &= jobs.c.id < before
    return tuple(
        record(row) for row in connection.execute(select(jobs).where(where).order_by(jobs.c.id.desc()).limit(limit))
    )


def cancel(connection: Connection, fingerprint: str, job_id: int) -> JobRecord:
    """End a job; who works on it learns it with the next beat. Raises JobNotFound, and JobStatusConflict at its end."""
    _move(connection, fingerprint, job_id, UNFINISHED, {"status": JobStatus.CANCELLED}, "The job was cancelled.")
    finish(connection, job_id, {})
    return get(connection, fingerprint, job_id)


def pause(connection: Connection, fingerprint: str, job_id: int) -> JobRecord:
    """Let a job rest. Raises JobNotFound, and JobStatusConflict unless it is queued or running."""
    values = {"status": JobStatus.PAUSED, "claimed_by": None, "estimated_finish": None}
    return _move(connection, fingerprint, job_id, _PAUSABLE, values, "The job was paused.")


def resume(connection: Connection, fingerprint: str, job_id: int) -> JobRecord:
    """Put a paused job into the queue again. Raises JobNotFound, and JobStatusConflict unless it is paused."""
    values = {"status": JobStatus.QUEUED, "fruitless_claims": 0}
    return _move(connection, fingerprint, job_id, _RESUMABLE, values, "The job was put into the queue again.")


def finish(connection: Connection, job_id: int, values: dict[str, Any]) -> None:
    """Note a job's end; what it could have gone on from is dropped."""
    ended = {"finished_at": datetime.now(UTC), "claimed_by": None, "estimated_finish": None, **values}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(ended))
    job_log.drop_states(connection, job_id)


def record(row: Row[Any]) -> JobRecord:
    """Return a row as a record."""
    return JobRecord(
        id=row.id,
        fingerprint=row.base_fingerprint,
        task=row.task,
        status=JobStatus(row.status),
        training_file=row.training_file,
        validation_file=row.validation_file,
        seed=row.seed,
        request=json.loads(row.request),
        created_at=row.created_at,
        created_by=row.created_by,
        started_at=row.started_at,
        finished_at=row.finished_at,
        estimated_finish=row.estimated_finish,
        trained_tokens=row.trained_tokens,
        metrics=json.loads(row.metrics),
        version=row.version,
        error=None if row.error is None else JobError(**json.loads(row.error)),
        claimed_by=row.claimed_by,
    )


def error_json(error: JobError) -> str:
    """Return an error as it is kept; `record` reads it back."""
    return canonical(asdict(error))


def _move(
    connection: Connection,
    fingerprint: str,
    job_id: int,
    begin: tuple[JobStatus, ...],
    values: dict[str, Any],
    message: str,
) -> JobRecord:
    found = get(connection, fingerprint, job_id)
    if found.status not in begin:
        raise JobStatusConflict(f"The job is {found.status}.")
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    job_log.append(connection, job_id, [NewEvent(message)])
    return get(connection, fingerprint, job_id)
