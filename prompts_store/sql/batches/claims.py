"""Queries of the servers that work on batches: one server at a time holds a batch, and only the holder writes.

Every claim of a batch has a higher number, and every write of a holder depends on that number, as with tuning jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select

from prompts_store.batch_errors import BatchClaimLost
from prompts_store.batch_records import (
    BatchBeat,
    BatchClaim,
    BatchFault,
    BatchRecord,
    BatchStatus,
    LineResult,
)
from prompts_store.sql.batches import batches, lines
from prompts_store.sql.batches.tables import batch_tasks
from prompts_store.sql.batches.tables import batches as rows

MAX_FRUITLESS_CLAIMS = 3
"""Claims in a row that end with a stopped server and without a result. After this many the batch fails."""

_TO_ASK = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
_TO_END = (BatchStatus.CANCELLING, BatchStatus.FINALIZING)


def has_waiting(connection: Connection, fingerprint: str, now: datetime, *, to_end: bool) -> bool:
    """Return whether a batch waits to be worked on, or `to_end`: is cancelled, expired or done, and has not ended."""
    return connection.scalar(select(rows.c.id).where(_waiting(fingerprint, now, to_end)).limit(1)) is not None


def claim_next(
    connection: Connection, fingerprint: str, server: str, now: datetime, *, to_end: bool
) -> tuple[BatchClaim, BatchRecord] | None:
    """Claim the oldest batch that waits, as in `has_waiting`. Return None without one."""
    query = select(rows).where(_waiting(fingerprint, now, to_end)).order_by(rows.c.id).limit(1)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    values = {
        "claimed_by": server,
        "claim": found.claim + 1,
        "num_beats": 0,
        "fruitless_claims": found.fruitless_claims + 1,
    }
    batches.change(connection, found.id, values)
    return BatchClaim(found.id, found.claim + 1), batches.get(connection, fingerprint, found.id)


def beats(connection: Connection, fingerprint: str) -> tuple[BatchBeat, ...]:
    """Return the heartbeats of all claimed batches."""
    query = select(rows.c.id, rows.c.claim, rows.c.num_beats)
    query = query.where(rows.c.base_fingerprint == fingerprint, rows.c.claimed_by.is_not(None))
    return tuple(BatchBeat(BatchClaim(row.id, row.claim), row.num_beats) for row in connection.execute(query))


def take_over(connection: Connection, stale: BatchBeat, hopeless: BatchFault) -> bool:
    """End the claim of a holder that has not beaten since `stale`; return whether that happened.

    The last of `MAX_FRUITLESS_CLAIMS` fails the batch with `hopeless`; its files have the results until then.
    """
    silent = (rows.c.id == stale.claim.batch_id) & (rows.c.claim == stale.claim.number)
    silent &= (rows.c.num_beats == stale.num_beats) & rows.c.claimed_by.is_not(None)
    found = connection.execute(select(rows).where(silent)).one_or_none()
    if found is None:
        return False
    if found.fruitless_claims >= MAX_FRUITLESS_CLAIMS:
        lines.write_files(connection, found)
        batches.finish(connection, found.id, BatchStatus.FAILED, [hopeless])
    else:
        batches.change(connection, found.id, {"claimed_by": None})
    return True


def beat(connection: Connection, claim: BatchClaim) -> BatchStatus:
    """Write a heartbeat and return the batch's status. Raises BatchClaimLost."""
    found = held(connection, claim)
    batches.change(connection, found.id, {"num_beats": found.num_beats + 1})
    return BatchStatus(found.status)


def release(connection: Connection, claim: BatchClaim) -> None:
    """End a claim in order, so that any server can continue the batch. The claim is not fruitless."""
    found = held(connection, claim)
    batches.change(connection, found.id, {"claimed_by": None, "fruitless_claims": max(0, found.fruitless_claims - 1)})


def accept(connection: Connection, claim: BatchClaim, num_lines: int, tasks: Collection[str]) -> None:
    """Begin to ask a batch whose file is valid. `tasks` are those that its lines name. Raises BatchClaimLost."""
    found = held(connection, claim)
    connection.execute(delete(batch_tasks).where(batch_tasks.c.batch_id == found.id))
    if tasks:
        connection.execute(insert(batch_tasks), [{"batch_id": found.id, "task": task} for task in sorted(tasks)])
    values: dict[str, Any] = {"num_lines": num_lines, "fruitless_claims": 0}
    if found.status == BatchStatus.VALIDATING:  # it may have been cancelled meanwhile
        values |= {"status": BatchStatus.IN_PROGRESS, "in_progress_at": datetime.now(UTC)}
    batches.change(connection, found.id, values)


def reject(connection: Connection, claim: BatchClaim, faults: Sequence[BatchFault]) -> None:
    """End a batch whose file is not valid, or that cannot be worked on. Raises BatchClaimLost."""
    found = held(connection, claim)
    lines.write_files(connection, found)
    batches.finish(connection, found.id, BatchStatus.FAILED, faults)


def keep(connection: Connection, claim: BatchClaim, results: Sequence[LineResult]) -> BatchStatus:
    """Keep the results of lines, and return the batch's status. A line that has a result keeps its first one.

    Raises BatchClaimLost.
    """
    found = held(connection, claim)
    num_answered, num_failed = lines.add(connection, found.id, results)
    values = {
        "num_answered": found.num_answered + num_answered,
        "num_failed": found.num_failed + num_failed,
        "num_beats": found.num_beats + 1,
        "fruitless_claims": 0,
    }
    batches.change(connection, found.id, values)
    return BatchStatus(found.status)


def begin_files(connection: Connection, claim: BatchClaim) -> None:
    """Say that every line is done. A batch that was cancelled meanwhile stays that. Raises BatchClaimLost."""
    found = held(connection, claim)
    if found.status == BatchStatus.IN_PROGRESS:
        values = {"status": BatchStatus.FINALIZING, "finalizing_at": datetime.now(UTC)}
        batches.change(connection, found.id, values)


def end(connection: Connection, claim: BatchClaim, status: BatchStatus, unasked: Sequence[LineResult] = ()) -> None:
    """Write a batch's files from its results and end it. `unasked` are errors of the lines that never ran.

    Raises BatchClaimLost.
    """
    found = held(connection, claim)
    lines.add(connection, found.id, unasked)
    lines.write_files(connection, found)
    batches.finish(connection, found.id, status)


def held(connection: Connection, claim: BatchClaim) -> Row[Any]:
    """Return the row of a batch that this claim still holds. Raises BatchClaimLost."""
    found = connection.execute(select(rows).where(rows.c.id == claim.batch_id)).one_or_none()
    if found is None:
        raise BatchClaimLost("The batch is gone.")
    if found.claim != claim.number or found.claimed_by is None:
        raise BatchClaimLost("Another server works on the batch, or it has ended.")
    return found


def _waiting(fingerprint: str, now: datetime, to_end: bool) -> ColumnElement[bool]:
    free = (rows.c.base_fingerprint == fingerprint) & rows.c.claimed_by.is_(None)
    if to_end:
        return free & (rows.c.status.in_(_TO_END) | (rows.c.status.in_(_TO_ASK) & (rows.c.expires_at <= now)))
    return free & rows.c.status.in_(_TO_ASK) & (rows.c.expires_at > now)
