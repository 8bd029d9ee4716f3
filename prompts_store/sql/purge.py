"""Removal for good: of tensors that nothing needs, and of everything that a task ever held."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, delete, func, select, tuple_, update

from prompts_store.ensembles import members_from_json
from prompts_store.errors import TaskNotFound
from prompts_store.names import check_task_name
from prompts_store.records import ChangeKind
from prompts_store.reports import GcReport, PurgeReport, VersionKey
from prompts_store.sql import aliases, changes, tasks
from prompts_store.sql.alias_history import Author
from prompts_store.sql.batches import removal
from prompts_store.sql.tables import alias_moves, tensors, version_tensors
from prompts_store.sql.tables import tasks as task_rows
from prompts_store.sql.tables import versions as version_rows
from prompts_store.sql.tuning import files, job_log
from prompts_store.sql.tuning.tables import job_checkpoints, job_events, jobs, version_plots
from prompts_store.tuning_records import JobStatus

_BATCH = 500
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Freed:
    num_tensors: int
    num_bytes: int


def collect_garbage(
    connection: Connection,
    retired_before: datetime,
    failed_before: datetime,
    batches_before: datetime,
    keep: Collection[VersionKey],
) -> GcReport:
    """Free the tensors that are named only by versions retired before a time, except those of `keep`.

    Members of a live ensemble are kept too. The versions stay, marked as freed. Jobs that failed before a time lose the
    state from which they could be resumed. Batches that ended before a time go with their files.
    """
    kept = tuple_(task_rows.c.base_fingerprint, task_rows.c.name, version_rows.c.number).in_(
        [(key.base_fingerprint, key.task, key.version) for key in keep]
    )
    query = select(version_rows.c.id, version_rows.c.task_id, version_rows.c.number).join(
        task_rows, task_rows.c.id == version_rows.c.task_id
    )
    query = query.where(version_rows.c.retired_at <= retired_before, version_rows.c.freed_at.is_(None), ~kept)
    listed = _listed_by_ensembles(connection)
    dead = [row.id for row in connection.execute(query) if (row.task_id, row.number) not in listed]
    for some in _batches(dead):
        connection.execute(delete(version_tensors).where(version_tensors.c.version_id.in_(some)))
        connection.execute(delete(version_plots).where(version_plots.c.version_id.in_(some)))
        marked = update(version_rows).where(version_rows.c.id.in_(some))
        connection.execute(marked.values(freed_at=datetime.now(UTC)))
    freed = _free_orphans(connection)
    num_states = _free_states(connection, failed_before)
    num_batches, num_files = removal.older(connection, batches_before)
    return GcReport(len(dead), freed.num_tensors, freed.num_bytes, num_states, num_batches, num_files)


def _free_states(connection: Connection, failed_before: datetime) -> int:
    """Remove the saved states of jobs that failed before a time; return the number of jobs that had one."""
    query = select(jobs.c.id).where(jobs.c.status == JobStatus.FAILED, jobs.c.finished_at <= failed_before)
    kept = [job_id for job_id in connection.scalars(query).all() if job_log.has_state(connection, job_id)]
    for some in _batches(kept):
        job_log.drop_states(connection, some)
    return len(kept)


def purge(connection: Connection, fingerprint: str, task: str, actor: str) -> PurgeReport:
    """Remove everything that a task ever held. Its row stays without texts, so that its numbers continue.

    A task deleted before is purged as well, and one that only tuning jobs name. Raises TaskNotFound if there never was
    one, and InvalidName.
    """
    check_task_name(task)
    found = connection.execute(select(task_rows).where(tasks.named(fingerprint, task))).one_or_none()
    if found is None:
        return _purge_jobs(connection, fingerprint, task, actor)
    if found.deleted_at is None:
        aliases.remove_all(connection, found.id, Author(actor))
        tasks.bury(connection, found.id, fingerprint, task, actor)
    of_task = version_rows.c.task_id == found.id
    ids = connection.scalars(select(version_rows.c.id).where(of_task)).all()
    named = _named_by(connection, ids)
    for some in _batches(ids):
        connection.execute(delete(version_tensors).where(version_tensors.c.version_id.in_(some)))
        connection.execute(delete(version_plots).where(version_plots.c.version_id.in_(some)))
    connection.execute(delete(version_rows).where(of_task))
    freed = _free(connection, [sha256 for sha256 in named if not _is_named(connection, sha256)])
    num_moves = connection.execute(delete(alias_moves).where(alias_moves.c.task_id == found.id)).rowcount
    num_jobs, num_files = _remove_jobs(connection, fingerprint, task)
    num_batches, num_batch_files = removal.of_task(connection, fingerprint, task)
    emptied = update(task_rows).where(task_rows.c.id == found.id)
    connection.execute(emptied.values(description="", created_by=""))
    changes.record(connection, ChangeKind.TASK_PURGED, fingerprint, task, actor=actor)
    return PurgeReport(
        task=task,
        num_versions=len(ids),
        num_tensors=freed.num_tensors,
        num_tensor_bytes=freed.num_bytes,
        num_shared_tensors=len(named) - freed.num_tensors,
        num_alias_moves=num_moves,
        num_jobs=num_jobs,
        num_files=num_files + num_batch_files,
        log_is_clear=False,
        num_batches=num_batches,
    )


def _purge_jobs(connection: Connection, fingerprint: str, task: str, actor: str) -> PurgeReport:
    """Remove the jobs and batches of a task that never was. Raises TaskNotFound where there are none."""
    num_jobs, num_files = _remove_jobs(connection, fingerprint, task)
    num_batches, num_batch_files = removal.of_task(connection, fingerprint, task)
    if num_jobs + num_batches == 0:
        raise TaskNotFound(f'There is no task "{task}".')
    changes.record(connection, ChangeKind.TASK_PURGED, fingerprint, task, actor=actor)
    return PurgeReport(
        task, 0, 0, 0, 0, 0, num_jobs, num_files + num_batch_files, log_is_clear=False, num_batches=num_batches
    )


def _remove_jobs(connection: Connection, fingerprint: str, task: str) -> tuple[int, int]:
    """Remove a task's tuning jobs, running ones too, and the files that only they name; return the number of each."""
    of_task = (jobs.c.base_fingerprint == fingerprint) & (jobs.c.task == task)
    rows = connection.execute(select(jobs.c.id, jobs.c.training_file, jobs.c.validation_file).where(of_task)).all()
    for some in _batches([row.id for row in rows]):
        job_log.drop_states(connection, some)
        for table in (job_events, job_checkpoints):
            connection.execute(delete(table).where(table.c.job_id.in_(some)))
    connection.execute(delete(jobs).where(of_task))
    named = {file for row in rows for file in (row.training_file, row.validation_file) if file is not None}
    kept = select(jobs.c.training_file).union(select(jobs.c.validation_file))
    alone = named - set(connection.scalars(kept))
    return len(rows), sum(files.erase(connection, file_id) for file_id in alone)


def orphans(connection: Connection) -> list[str]:
    """Return the digests of tensors that no version names."""
    return list(connection.scalars(select(tensors.c.sha256).where(~_any_name(tensors.c.sha256))))


def _listed_by_ensembles(connection: Connection) -> frozenset[tuple[int, int]]:
    """Return task id and number of every version that a live ensemble lists."""
    live = version_rows.c.retired_at.is_(None) & version_rows.c.members.is_not(None)
    rows = connection.execute(select(version_rows.c.task_id, version_rows.c.members).where(live)).all()
    return frozenset((row.task_id, member.version) for row in rows for member in members_from_json(row.members))


def _free_orphans(connection: Connection) -> _Freed:
    return _free(connection, orphans(connection))


def _free(connection: Connection, digests: Sequence[str]) -> _Freed:
    num_bytes = 0
    for some in _batches(digests):
        these = tensors.c.sha256.in_(some)
        num_bytes += connection.scalar(select(func.sum(func.length(tensors.c.data))).where(these)) or 0
        connection.execute(delete(tensors).where(these))
    return _Freed(len(digests), num_bytes)


def _named_by(connection: Connection, version_ids: Sequence[int]) -> list[str]:
    query = select(version_tensors.c.sha256).distinct()
    found = {
        sha256
        for some in _batches(version_ids)
        for sha256 in connection.scalars(query.where(version_tensors.c.version_id.in_(some)))
    }
    return sorted(found)


def _is_named(connection: Connection, sha256: str) -> bool:
    query = select(version_tensors.c.version_id).where(version_tensors.c.sha256 == sha256).limit(1)
    return connection.scalar(query) is not None


def _any_name(sha256: ColumnElement[str]) -> ColumnElement[bool]:
    return select(version_tensors.c.version_id).where(version_tensors.c.sha256 == sha256).exists()


def _batches(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[begin : begin + _BATCH] for begin in range(0, len(items), _BATCH)]
