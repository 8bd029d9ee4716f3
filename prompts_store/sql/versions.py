"""Queries about versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from prompts_store.checkpoint_records import ParsedCheckpoint, PeftType, task_type_of
from prompts_store.ensembles import members_from_json, members_to_json
from prompts_store.errors import VersionInUse, VersionNotFound
from prompts_store.manifest import Manifest, manifest_from_json, manifest_to_json
from prompts_store.names import MAX_VERSION, check_task_name
from prompts_store.records import ChangeKind, EnsembleDraft, VersionRecord
from prompts_store.sql import changes
from prompts_store.sql.tables import alias_targets, tasks, versions
from prompts_store.sql.tasks import task_id
from prompts_store.strict_json import canonical

_ROWS = select(versions, tasks.c.name, tasks.c.base_fingerprint).join(tasks, tasks.c.id == versions.c.task_id)
_LIVE = versions.c.retired_at.is_(None)


@dataclass(frozen=True, slots=True, eq=False)
class VersionDraft:
    """A version before it has a number: checked and digested, so that the transaction only writes."""

    checkpoint: ParsedCheckpoint
    manifest: Manifest
    digest: str
    actor: str


def row(connection: Connection, fingerprint: str, task: str, number: int, *, include_retired: bool = False) -> Row[Any]:
    """Return a version's row. Raises TaskNotFound, VersionNotFound and InvalidName.

    `include_retired` also finds a retired version, and a version of a deleted task.
    """
    check_task_name(task)
    if not 1 <= number <= MAX_VERSION:
        raise VersionNotFound(f"A version number must be from 1 to {MAX_VERSION}.")
    found = _named(fingerprint, task) & (versions.c.number == number)
    if not include_retired:
        found &= _LIVE & tasks.c.deleted_at.is_(None)
    match = connection.execute(_ROWS.where(found)).one_or_none()
    if match is None:
        task_id(connection, fingerprint, task)
        raise VersionNotFound(f'Task "{task}" has no version {number}.')
    return match


def live_rows(connection: Connection, task: int, numbers: Sequence[int]) -> list[Row[Any]]:
    """Return the rows of a task's live versions among these numbers, by number."""
    named = (versions.c.task_id == task) & versions.c.number.in_(numbers)
    return list(connection.execute(_ROWS.where(named, _LIVE).order_by(versions.c.number)))


def row_by_id(connection: Connection, version_id: int) -> Row[Any]:
    """Return the row of a version that exists."""
    return connection.execute(_ROWS.where(versions.c.id == version_id)).one()


def page(
    connection: Connection, fingerprint: str, task: str, *, include_retired: bool, before: int | None, limit: int
) -> tuple[VersionRecord, ...]:
    """Return the first `limit` versions below the number `before`, newest first. Raises TaskNotFound, InvalidName."""
    query = _ROWS.where(versions.c.task_id == task_id(connection, fingerprint, task))
    if not include_retired:
        query = query.where(_LIVE)
    if before is not None:
        query = query.where(versions.c.number <= min(before - 1, MAX_VERSION))
    return tuple(record(match) for match in connection.execute(query.order_by(versions.c.number.desc()).limit(limit)))


def live_number(connection: Connection, task: int, digest: str) -> int | None:
    """Return the number of the task's live version with this content."""
    found: int | None = connection.scalar(
        select(versions.c.number).where(versions.c.task_id == task, versions.c.digest == digest, _LIVE)
    )
    return found


def has_live(connection: Connection, task: int) -> bool:
    """Return whether the task has a live version."""
    return connection.scalar(select(versions.c.id).where(versions.c.task_id == task, _LIVE).limit(1)) is not None


def add(connection: Connection, task: int, number: int, draft: VersionDraft | EnsembleDraft) -> int:
    """Add a version without its tensors; return the row's id."""
    values = {
        "task_id": task,
        "number": number,
        "digest": draft.digest,
        "manifest": canonical(manifest_to_json(draft.manifest)),
        "created_at": datetime.now(UTC),
        "created_by": draft.actor,
        **(_of_ensemble(draft) if isinstance(draft, EnsembleDraft) else _of_checkpoint(draft)),
    }
    created: int = connection.scalars(insert(versions).values(values).returning(versions.c.id)).one()
    return created


def retire(connection: Connection, fingerprint: str, task: str, number: int, actor: str) -> VersionRecord:
    """Mark a live version retired. Raises TaskNotFound, VersionNotFound, InvalidName and VersionInUse."""
    match = row(connection, fingerprint, task, number)
    naming = (alias_targets.c.task_id == match.task_id) & (alias_targets.c.version == number)
    names = connection.scalars(select(alias_targets.c.alias).where(naming).order_by(alias_targets.c.alias)).all()
    if names:
        listed = ", ".join(names[:5])
        message = f'{len(names)} alias(es) name version {number} of task "{task}": {listed}; move them first.'
        raise VersionInUse(message)
    for ensemble, members in live_ensembles(connection, match.task_id):
        if number in members:
            message = (
                f'Version {number} of task "{task}" is a member of ensemble version {ensemble}; retire that first.'
            )
            raise VersionInUse(message)
    _retire(connection, versions.c.id == match.id, actor)
    changes.record(connection, ChangeKind.VERSION_RETIRED, fingerprint, task, version=number, actor=actor)
    return record(row(connection, fingerprint, task, number, include_retired=True))


def live_ensembles(connection: Connection, task: int) -> list[tuple[int, frozenset[int]]]:
    """Return the task's live ensembles by number, each with the numbers of its members."""
    query = select(versions.c.number, versions.c.members).where(versions.c.task_id == task, _LIVE)
    found = connection.execute(query.where(versions.c.members.is_not(None)).order_by(versions.c.number))
    return [(row.number, frozenset(member.version for member in members_from_json(row.members))) for row in found]


def retire_all(connection: Connection, task: int, actor: str) -> None:
    """Mark every live version of a task retired. No alias may name one."""
    _retire(connection, versions.c.task_id == task, actor)


def record(match: Row[Any]) -> VersionRecord:
    """Return a row as a record."""
    return VersionRecord(
        task=match.name,
        version=match.number,
        digest=match.digest,
        prefix_digest=match.prefix_digest or None,
        peft_type=PeftType(match.peft_type) if match.peft_type else None,
        num_virtual_tokens=match.num_virtual_tokens,
        base_fingerprint=match.base_fingerprint,
        base_name=match.base_name,
        manifest=manifest_from_json(json.loads(match.manifest)),
        created_at=match.created_at,
        created_by=match.created_by,
        retired_at=match.retired_at,
        base_mismatch=match.base_mismatch,
        members=members_from_json(match.members),
        task_type=task_type_of(json.loads(match.config)),
    )


def _of_checkpoint(draft: VersionDraft) -> dict[str, Any]:
    checkpoint = draft.checkpoint
    return {
        "prefix_digest": checkpoint.prefix.digest,
        "prefix_shape": canonical(list(checkpoint.prefix.values.shape)),
        "peft_type": checkpoint.peft_type,
        "num_virtual_tokens": checkpoint.num_virtual_tokens,
        "base_name": checkpoint.base_name,
        "base_mismatch": checkpoint.base_mismatch,
        "config": canonical(checkpoint.config),
    }


def _of_ensemble(draft: EnsembleDraft) -> dict[str, Any]:
    return {
        "prefix_digest": "",
        "prefix_shape": "[]",
        "peft_type": "",
        "num_virtual_tokens": draft.num_virtual_tokens,
        "base_name": "",
        "base_mismatch": False,
        "config": canonical({"task_type": draft.task_type} if draft.task_type is not None else {}),
        "members": members_to_json(draft.members),
    }


def _named(fingerprint: str, task: str) -> ColumnElement[bool]:
    return (tasks.c.base_fingerprint == fingerprint) & (tasks.c.name == task)


def _retire(connection: Connection, which: ColumnElement[bool], actor: str) -> None:
    connection.execute(update(versions).where(which, _LIVE).values(retired_at=datetime.now(UTC), retired_by=actor))
