"""Queries of the servers that work on jobs: one server at a time holds a job, and only the holder writes its results.

Every claim of a job has a higher number. Every write of a holder depends on that number and on the job's status. So a
server that was thought dead, or whose job was cancelled, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from prompts_store.sql.tuning import job_log, jobs
from prompts_store.sql.tuning.tables import jobs as rows
from prompts_store.strict_json import canonical
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import (
    Heartbeat,
    JobClaim,
    JobError,
    JobProgress,
    JobRecord,
    JobStatus,
    NewEvent,
    StateAtFailure,
)

MAX_FRUITLESS_CLAIMS = 3
"""Claims in a row that end with a stopped server and without progress. After this many the job fails."""

_HELD = (JobStatus.VALIDATING_FILES, JobStatus.RUNNING)


def claim_next(
    connection: Connection, fingerprint: str, status: JobStatus, owner: str
) -> tuple[JobClaim, JobRecord] | None:
    """Claim the oldest job that waits in this status, to be validated or to run. Return None without one."""
    query = select(rows).where(_waiting(fingerprint, status)).order_by(rows.c.id).limit(1)
    found = connection.execute(query).one_or_none()
    return None if found is None else _claim(connection, found, owner)


def has_waiting(connection: Connection, fingerprint: str, status: JobStatus) -> bool:
    """Return whether a job waits in this status."""
    return connection.scalar(select(rows.c.id).where(_waiting(fingerprint, status)).limit(1)) is not None


def heartbeats(connection: Connection, fingerprint: str) -> tuple[Heartbeat, ...]:
    """Return the heartbeats of all claimed jobs."""
    query = select(rows.c.id, rows.c.claim, rows.c.num_beats, rows.c.status)
    query = query.where(rows.c.base_fingerprint == fingerprint, rows.c.claimed_by.is_not(None))
    return tuple(
        Heartbeat(JobClaim(row.id, row.claim), row.num_beats, JobStatus(row.status))
        for row in connection.execute(query)
    )


def take_over(connection: Connection, stale: Heartbeat, hopeless: JobError) -> JobStatus | None:
    """End the claim of a holder that has not beaten since `stale`. Any server can then claim the job.

    The last of `MAX_FRUITLESS_CLAIMS` ends the job with `hopeless`. Return the new status of the job, or None if the
    holder has beaten.
    """
    silent = (rows.c.id == stale.claim.job_id) & (rows.c.claim == stale.claim.number)
    silent &= (rows.c.num_beats == stale.num_beats) & rows.c.claimed_by.is_not(None)
    found = connection.execute(select(rows).where(silent)).one_or_none()
    if found is None:
        return None
    stopped = f"The server that worked on it ({found.claimed_by}) has stopped"
    if found.fruitless_claims >= MAX_FRUITLESS_CLAIMS:
        jobs.fail(connection, found.id, hopeless, [NewEvent(f"{stopped}.", level="warn")])
        return JobStatus.FAILED
    _end_claim(connection, found)
    job_log.append(connection, found.id, [NewEvent(f"{stopped}; another one goes on.", level="warn")])
    return JobStatus.QUEUED if found.status == JobStatus.RUNNING else JobStatus(found.status)


def note_progress(connection: Connection, job_id: int, step: int, *, is_progress: bool = False) -> None:
    """Set the count of fruitless claims to zero if this step is later than that of the latest checkpoint.

    With `is_progress` it is set in any case.

    The same step saved again is no progress. Otherwise a job whose evaluation stops its servers would never fail.
    """
    latest = job_log.checkpoints(connection, job_id, before=None, limit=1)
    if is_progress or step > (latest[0].step if latest else 0):
        _set(connection, job_id, {"fruitless_claims": 0})


def release(connection: Connection, claim: JobClaim, events: Sequence[NewEvent]) -> None:
    """End a claim in order, so that any server can continue the job. The claim is not fruitless. Raises ClaimLost."""
    found = held(connection, claim, _HELD)
    _end_claim(connection, found)
    _set(connection, found.id, {"fruitless_claims": max(0, found.fruitless_claims - 1)})
    job_log.append(connection, claim.job_id, events)


def validated(connection: Connection, claim: JobClaim, events: Sequence[NewEvent]) -> None:
    """Put a job whose files are valid into the queue. Raises ClaimLost."""
    found = held(connection, claim, (JobStatus.VALIDATING_FILES,))
    _set(connection, found.id, {"status": JobStatus.QUEUED, "claimed_by": None, "fruitless_claims": 0})
    job_log.append(connection, found.id, [*events, NewEvent("The files are valid; the job is queued.")])


def beat(connection: Connection, claim: JobClaim, events: Sequence[NewEvent], progress: JobProgress | None) -> None:
    """Write a heartbeat, with the events since the last one and the progress. Raises ClaimLost."""
    found = held(connection, claim, _HELD)
    values: dict[str, Any] = {"num_beats": found.num_beats + 1}
    if progress is not None:
        values |= {"trained_tokens": progress.trained_tokens, "estimated_finish": progress.estimated_finish}
    _set(connection, found.id, values)
    job_log.append(connection, found.id, events)


def fail(
    connection: Connection, claim: JobClaim, error: JobError, events: Sequence[NewEvent], *, state: StateAtFailure
) -> None:
    """End a job with an error. Raises ClaimLost."""
    found = held(connection, claim, _HELD)
    jobs.fail(connection, found.id, error, events, state=state)


def succeed(
    connection: Connection, claim: JobClaim, version: int, trained_tokens: int, metrics: dict[str, Any]
) -> None:
    """End a job with the version that it made. Raises ClaimLost."""
    found = held(connection, claim, (JobStatus.RUNNING,))
    values = {
        "status": JobStatus.SUCCEEDED,
        "version": version,
        "trained_tokens": trained_tokens,
        "metrics": canonical(metrics),
    }
    jobs.finish(connection, found.id, values)
    job_log.drop_states(connection, [found.id])


def held(connection: Connection, claim: JobClaim, statuses: Sequence[JobStatus]) -> Row[Any]:
    """Return the row of a job that this claim still holds, in one of these statuses. Raises ClaimLost."""
    found = connection.execute(select(rows).where(rows.c.id == claim.job_id)).one_or_none()
    if found is None:
        raise ClaimLost("The job is gone.")
    if found.claim != claim.number:
        raise ClaimLost("Another server works on the job.", status=JobStatus(found.status))
    if found.status not in statuses:
        raise ClaimLost(f"The job is {found.status}.", status=JobStatus(found.status))
    return found


def _waiting(fingerprint: str, status: JobStatus) -> ColumnElement[bool]:
    return (rows.c.base_fingerprint == fingerprint) & (rows.c.status == status) & rows.c.claimed_by.is_(None)


def _claim(connection: Connection, found: Row[Any], owner: str) -> tuple[JobClaim, JobRecord]:
    values: dict[str, Any] = {
        "claimed_by": owner,
        "claim": found.claim + 1,
        "num_beats": 0,
        "fruitless_claims": found.fruitless_claims + 1,
    }
    if found.status == JobStatus.QUEUED:
        values["status"] = JobStatus.RUNNING
        if found.started_at is None:
            values["started_at"] = datetime.now(UTC)
    _set(connection, found.id, values)
    return JobClaim(found.id, found.claim + 1), jobs.get(connection, found.base_fingerprint, found.id)


def _end_claim(connection: Connection, found: Row[Any]) -> None:
    values: dict[str, Any] = {"claimed_by": None, "estimated_finish": None}
    if found.status == JobStatus.RUNNING:
        values["status"] = JobStatus.QUEUED
    _set(connection, found.id, values)


def _set(connection: Connection, job_id: int, values: dict[str, Any]) -> None:
    connection.execute(update(rows).where(rows.c.id == job_id).values(values))
