"""Verification of a store: recompute all digests and check all rules."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, func, select

from prompts_store.checkpoint.digests import ensemble_digest
from prompts_store.errors import StoreError
from prompts_store.records import ChangeKind
from prompts_store.reports import VerifyReport
from prompts_store.sql import purge, versions
from prompts_store.sql import tensors as tensor_queries
from prompts_store.sql.batches import verification as batch_verification
from prompts_store.sql.batches.tables import batches
from prompts_store.sql.databases import copying
from prompts_store.sql.tables import alias_moves, alias_targets, aliases, changes, tasks, tensors
from prompts_store.sql.tables import versions as version_rows
from prompts_store.sql.tuning import verification as tuning_verification
from prompts_store.sql.tuning.tables import jobs
from prompts_store.targets import targets_from_json


def verify(connection: Connection) -> VerifyReport:
    """Check everything, in one snapshot of the database."""
    problems = [
        *_damaged_files(connection),
        *_wrong_versions(connection),
        *_wrong_numbers(connection),
        *_wrong_tasks(connection),
        *_wrong_aliases(connection),
        *_wrong_changes(connection),
        *tuning_verification.problems(connection),
        *batch_verification.problems(connection),
    ]
    return VerifyReport(
        num_tasks=copying.count(connection, tasks),
        num_versions=copying.count(connection, version_rows),
        num_tensors=copying.count(connection, tensors),
        num_files=tuning_verification.num_files(connection),
        num_jobs=copying.count(connection, jobs),
        num_orphan_tensors=len(purge.orphans(connection)),
        problems=tuple(problems),
        num_batches=copying.count(connection, batches),
    )


def _damaged_files(connection: Connection) -> Iterator[str]:
    """Let SQLite check its pages and references. A database server enforces its references itself."""
    if connection.dialect.name != "sqlite":
        return
    for row in connection.exec_driver_sql("PRAGMA integrity_check"):
        if row[0] != "ok":
            yield f"The database file is damaged: {row[0]}."
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"A row of {row[0]} refers to a row of {row[2]} that does not exist."


def _wrong_versions(connection: Connection) -> Iterator[str]:
    """Recompute the digests of every version that has not been freed, one in memory at a time."""
    for version_id in connection.scalars(select(version_rows.c.id).order_by(version_rows.c.id)).all():
        row = versions.row_by_id(connection, version_id)
        if row.freed_at is not None:
            if row.retired_at is None:
                yield f'Version {row.number} of task "{row.name}" is live but freed.'
            continue
        try:
            if row.members is not None:
                yield from _wrong_ensemble(connection, row)
                continue
            tensor_queries.restore(row, tensor_queries.rows(connection, row))
        except StoreError as error:
            yield f'Version {row.number} of task "{row.name}": {error}'
        except (ValueError, KeyError, TypeError):
            yield f'Version {row.number} of task "{row.name}" cannot be read.'


def _wrong_ensemble(connection: Connection, row: Row[Any]) -> Iterator[str]:
    """Recompute an ensemble's digest, and compare its list with the listed versions."""
    record = versions.record(row)
    subject = f'Version {record.version} of task "{record.task}"'
    if ensemble_digest([member.digest for member in record.members], record.manifest) != record.digest:
        yield f"{subject} does not agree with its digest."
    numbers = [member.version for member in record.members]
    live = {listed.number: listed for listed in versions.live_rows(connection, row.task_id, numbers)}
    for member in record.members:
        listed = live.get(member.version)
        if listed is None and record.retired_at is None:
            yield f"{subject} lists version {member.version}, which is not live."
        if listed is not None and (listed.digest, listed.prefix_digest) != (member.digest, member.prefix_digest):
            yield f"{subject} does not list version {member.version} as it is."


def _wrong_numbers(connection: Connection) -> Iterator[str]:
    """Check that version numbers have no gap up to the task's last one. A purge removes the lowest ones."""
    num, low, high = (function(version_rows.c.number) for function in (func.count, func.min, func.max))
    query = select(tasks.c.name, tasks.c.last_version, num.label("num"), low.label("low"), high.label("high"))
    joined = query.join(version_rows, version_rows.c.task_id == tasks.c.id)
    for row in connection.execute(joined.group_by(tasks.c.id, tasks.c.name, tasks.c.last_version)):
        if row.high != row.last_version or row.num != row.high - row.low + 1:
            yield f'The version numbers of task "{row.name}" have a gap.'


def _wrong_tasks(connection: Connection) -> Iterator[str]:
    buried = select(tasks.c.name).distinct().where(tasks.c.deleted_at.is_not(None))
    live = buried.join(version_rows, version_rows.c.task_id == tasks.c.id).where(version_rows.c.retired_at.is_(None))
    for name in connection.scalars(live):
        yield f'Task "{name}" is deleted but has live versions.'
    for name in connection.scalars(buried.join(aliases, aliases.c.task_id == tasks.c.id)):
        yield f'Task "{name}" is deleted but has aliases.'


def _wrong_aliases(connection: Connection) -> Iterator[str]:
    """Check that an alias has the targets of its last move, and names live versions only."""
    of_alias = alias_moves.alias()
    last = select(func.max(of_alias.c.id)).where(
        of_alias.c.task_id == aliases.c.task_id, of_alias.c.alias == aliases.c.alias
    )
    query = select(
        tasks.c.name, aliases, alias_moves.c.targets, alias_moves.c.shadow_of.label("moved_to_shadow")
    ).add_columns(last.scalar_subquery().label("last_move"))
    query = query.join(tasks, tasks.c.id == aliases.c.task_id).join(alias_moves, alias_moves.c.id == aliases.c.move_id)
    for row in connection.execute(query.order_by(tasks.c.id, aliases.c.alias)).all():
        named = targets_from_json(row.targets)
        kept = (alias_targets.c.task_id == row.task_id) & (alias_targets.c.alias == row.alias)
        rows = connection.execute(select(alias_targets).where(kept).order_by(alias_targets.c.version)).all()
        alias = f'Alias "{row.alias}" of task "{row.name}"'
        if row.last_move != row.move_id or row.shadow_of != row.moved_to_shadow:
            yield f"{alias} is not where its last move says."
        if not named or [(target.version, target.weight) for target in named] != [(t.version, t.weight) for t in rows]:
            yield f"{alias} does not have the targets that its last move says."
        if len(versions.live_rows(connection, row.task_id, [t.version for t in rows])) != len(rows):
            yield f"{alias} names a version that is not live."


def _wrong_changes(connection: Connection) -> Iterator[str]:
    """Check that change ids are positive and at most the last one given, and that versions came in numeric order."""
    low, high = connection.execute(select(func.min(changes.c.id), func.max(changes.c.id))).one()
    if low is not None and (low < 1 or high > copying.last_id(connection, changes)):
        yield "A change has an id that was never given."
    published = select(changes.c.base_fingerprint, changes.c.task, changes.c.version)
    published = published.where(changes.c.kind == ChangeKind.VERSION_PUBLISHED)
    order = (changes.c.base_fingerprint, changes.c.task, changes.c.id)
    for before, after in pairwise(connection.execute(published.order_by(*order)).all()):
        if before[:2] == after[:2] and after.version != before.version + 1:
            yield f'The changes of task "{after.task}" name version {after.version} after version {before.version}.'
    told = {tuple(row) for row in connection.execute(published)}
    query = select(tasks.c.base_fingerprint, tasks.c.name, version_rows.c.number)
    for fingerprint, task, number in connection.execute(query.join(version_rows, version_rows.c.task_id == tasks.c.id)):
        if (fingerprint, task, number) not in told:
            yield f'No change tells of version {number} of task "{task}".'
