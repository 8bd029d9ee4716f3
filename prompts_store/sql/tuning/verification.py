"""Verification of files, jobs and checkpoints: it reads all of them and compares them with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Table, func, select

from prompts_store.sql.tables import tasks, versions
from prompts_store.sql.tuning.files import UNFINISHED
from prompts_store.sql.tuning.tables import checkpoint_chunks, file_chunks, files, job_checkpoints, jobs
from prompts_store.tuning_records import JobStatus


def problems(connection: Connection) -> Iterator[str]:
    """Yield the problems of files, jobs and checkpoints, as sentences."""
    yield from _wrong_files(connection)
    yield from _wrong_jobs(connection)
    yield from _wrong_checkpoints(connection)


def num_files(connection: Connection) -> int:
    """Return the number of files."""
    return connection.scalar(select(func.count()).select_from(files)) or 0


def _wrong_files(connection: Connection) -> Iterator[str]:
    for file in connection.execute(select(files).order_by(files.c.id)).all():
        found = _digest(connection, file_chunks, file_chunks.c.file_id == file.id)
        if found != (file.sha256, file.num_bytes):
            yield f"File {file.id} does not agree with its digest."


def _wrong_jobs(connection: Connection) -> Iterator[str]:
    """Yield the problems of jobs.

    A job that has not ended has its files. One that has ended has a time of its end and no claim. One that succeeded
    has a version that exists.
    """
    known = set(connection.scalars(select(files.c.id)))
    made = select(tasks.c.base_fingerprint, tasks.c.name, versions.c.number)
    made = made.join(versions, versions.c.task_id == tasks.c.id)
    numbers = {tuple(row) for row in connection.execute(made)}
    for job in connection.execute(select(jobs).order_by(jobs.c.id)):
        if job.status in UNFINISHED:
            if not {job.training_file, job.validation_file} - {None} <= known:
                yield f"Tuning job {job.id} lacks a file."
            if job.finished_at is not None:
                yield f"Tuning job {job.id} is {job.status} but has finished."
        elif job.finished_at is None or job.claimed_by is not None:
            yield f"Tuning job {job.id} is {job.status} but has not finished."
        if job.status == JobStatus.SUCCEEDED and (job.base_fingerprint, job.task, job.version) not in numbers:
            yield f'Tuning job {job.id} names a version that task "{job.task}" does not have.'


def _wrong_checkpoints(connection: Connection) -> Iterator[str]:
    """Yield the problems of checkpoints.

    A job has at most one state, which agrees with its digest. A job that succeeded or was cancelled has none.
    """
    kept = select(checkpoint_chunks.c.checkpoint_id).distinct()
    query = select(job_checkpoints, jobs.c.status).join(jobs, jobs.c.id == job_checkpoints.c.job_id)
    seen: set[int] = set()
    for row in connection.execute(query.where(job_checkpoints.c.id.in_(kept)).order_by(job_checkpoints.c.id)).all():
        sha256, _ = _digest(connection, checkpoint_chunks, checkpoint_chunks.c.checkpoint_id == row.id)
        if sha256 != row.sha256:
            yield f"A checkpoint of tuning job {row.job_id} does not agree with its digest."
        if row.job_id in seen or row.status not in (*UNFINISHED, JobStatus.FAILED):
            yield f"Tuning job {row.job_id} keeps a checkpoint that it does not need."
        seen.add(row.job_id)


def _digest(connection: Connection, table: Table, which: ColumnElement[bool]) -> tuple[str, int]:
    """Return the digest and the number of bytes of these chunks of a table, with one chunk in memory at a time.

    If a chunk is missing, the digest agrees with nothing. A damaged SQLite database may have a value of another type
    instead of bytes; that counts as no bytes.
    """
    digest, num_bytes = hashlib.sha256(), 0
    chunks = select(table.c.number, table.c.data).where(which).order_by(table.c.number)
    for expected, chunk in enumerate(connection.execute(chunks.execution_options(yield_per=1))):
        data = chunk.data if isinstance(chunk.data, bytes) else b""
        digest.update(data if chunk.number == expected else b"a chunk is missing")
        num_bytes += len(data)
    return digest.hexdigest(), num_bytes
