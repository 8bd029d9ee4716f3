"""Queries about tuning jobs and their statuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from prompts_store.sql.tuning import job_log
from prompts_store.sql.tuning.files import UNFINISHED
from prompts_store.sql.tuning.tables import files, jobs
from prompts_store.strict_json import canonical
from prompts_store.tuning_errors import FileNotFound, JobNotFound, JobStatusConflict, QueueFull, TaskDeleted
from prompts_store.tuning_records import JobError, JobRecord, JobStatus, NewEvent, NewJob, StateAtFailure

_RESUMABLE = (JobStatus.PAUSED, JobStatus.FAILED)
_PAUSABLE = (JobStatus.QUEUED, JobStatus.RUNNING)
_KEPT = {
    StateAtFailure.RESUMABLE: NewEvent("What it has learnt is kept: resumed, it goes on from there."),
    StateAtFailure.UNREADABLE: NewEvent("Its saved state is kept, but this server cannot go on from it.", level="warn"),
}


def create(connection: Connection, job: NewJob, *, max_unfinished: int, actor: str) -> JobRecord:
    """Add a job. Raises FileNotFound, and QueueFull where `max_unfinished` jobs of its base have not ended."""
    for file_id in (job.training_file, job.validation_file):
        if file_id is not None and connection.scalar(select(files.c.id).where(files.c.id == file_id)) is None:
            raise FileNotFound("There is no file of this id.")
    _check_room(connection, job.fingerprint, max_unfinished)
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
    """End a job; its server finds that at the next heartbeat. Raises JobNotFound and JobStatusConflict."""
    _move(connection, fingerprint, job_id, UNFINISHED, {"status": JobStatus.CANCELLED}, "The job was cancelled.")
    finish(connection, job_id, {})
    job_log.drop_states(connection, [job_id])
    return get(connection, fingerprint, job_id)


def fail_of_task(connection: Connection, fingerprint: str, task: str) -> None:
    """End every job of a deleted task. The job's server finds that at the next heartbeat."""
    error = JobError(TaskDeleted.code, f'The task "{task}" was deleted, so nothing is published to it.')
    of_task = (jobs.c.base_fingerprint == fingerprint) & (jobs.c.task == task) & jobs.c.status.in_(UNFINISHED)
    for job_id in connection.scalars(select(jobs.c.id).where(of_task)).all():
        fail(connection, job_id, error)


def pause(connection: Connection, fingerprint: str, job_id: int) -> JobRecord:
    """Pause a job. Raises JobNotFound, and JobStatusConflict unless it is queued or running."""
    values = {"status": JobStatus.PAUSED, "claimed_by": None, "estimated_finish": None}
    return _move(connection, fingerprint, job_id, _PAUSABLE, values, "The job was paused.")


def resume(connection: Connection, fingerprint: str, job_id: int, max_unfinished: int | None) -> JobRecord:
    """Put a paused job into the queue again, or a failed one that still has a state and its files.

    Raises JobNotFound, JobStatusConflict for any other job, and QueueFull where `max_unfinished` jobs have not ended.
    """
    found = get(connection, fingerprint, job_id)
    if found.status is JobStatus.FAILED:
        _check_can_go_on(connection, found)
        if max_unfinished is not None:
            _check_room(connection, fingerprint, max_unfinished)
    values = {"status": JobStatus.QUEUED, "finished_at": None, "error": None, "fruitless_claims": 0}
    return _move(connection, fingerprint, job_id, _RESUMABLE, values, "The job was put into the queue again.")


def fail(
    connection: Connection,
    job_id: int,
    error: JobError,
    events: Sequence[NewEvent] = (),
    *,
    state: StateAtFailure = StateAtFailure.RESUMABLE,
) -> None:
    """End a job with an error. `state` decides about its saved state, if it has one."""
    finish(connection, job_id, {"status": JobStatus.FAILED, "error": error_json(error)})
    job_log.append(connection, job_id, [*events, NewEvent(f"The job failed: {error.message}", level="error")])
    if state is StateAtFailure.DROPPED:
        job_log.drop_states(connection, [job_id])
    elif job_log.has_state(connection, job_id):
        job_log.append(connection, job_id, [_KEPT[state]])


def finish(connection: Connection, job_id: int, values: dict[str, Any]) -> None:
    """Set a job's end."""
    ended = {"finished_at": datetime.now(UTC), "claimed_by": None, "estimated_finish": None, **values}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(ended))


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
    """Convert an error to JSON; `record` is the inverse."""
    return canonical(asdict(error))


def _check_room(connection: Connection, fingerprint: str, max_unfinished: int) -> None:
    """Raise QueueFull where this many jobs of a base model have not ended."""
    unfinished = (jobs.c.base_fingerprint == fingerprint) & jobs.c.status.in_(UNFINISHED)
    if (connection.scalar(select(func.count()).select_from(jobs).where(unfinished)) or 0) >= max_unfinished:
        raise QueueFull(
            f"There are tuning jobs that have not ended; the maximum is {max_unfinished} (--max-tuning-jobs)."
        )


def _check_can_go_on(connection: Connection, failed: JobRecord) -> None:
    """Raise JobStatusConflict for a failed job without a saved state or without its files."""
    if not job_log.has_state(connection, failed.id):
        raise JobStatusConflict("The job failed and has no saved state to go on from: create a new job.")
    named = {failed.training_file, failed.validation_file} - {None}
    if len(connection.scalars(select(files.c.id).where(files.c.id.in_(named))).all()) < len(named):
        raise JobStatusConflict("The job failed and its files have been deleted since: upload them for a new job.")


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
