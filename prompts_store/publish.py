"""Publishing: checks and digests before the transaction, and the transaction itself."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from prompts_store.checkpoint.digests import content_digest
from prompts_store.checkpoint_records import ParsedCheckpoint
from prompts_store.ensembles import draft_ensemble
from prompts_store.errors import CheckpointTooLarge, InvalidManifest, InvalidMembers, InvalidTaskIndex
from prompts_store.manifest import Manifest
from prompts_store.names import PRODUCTION
from prompts_store.records import ChangeKind, EnsembleDraft, Published
from prompts_store.sql import aliases, changes, tasks, tensors, versions
from prompts_store.sql.alias_history import AliasKey, Author
from prompts_store.sql.versions import VersionDraft
from prompts_store.task_fields import check_task_fields


def draft_version(
    checkpoint: ParsedCheckpoint, manifest: Manifest, *, actor: str, max_tensor_bytes: int
) -> VersionDraft:
    """Digest a version whose parts were checked when they were made.

    Raises CheckpointTooLarge, InvalidManifest, and InvalidTaskIndex for another `task_index` than the checkpoint was
    read with.
    """
    if sum(tensor.values.nbytes for tensor in checkpoint.tensors) > max_tensor_bytes:
        message = f"The tensors take more than {max_tensor_bytes} bytes as float32."
        raise CheckpointTooLarge(message, param="adapter_model")
    if manifest.task_index != checkpoint.task_index:
        message = f"The checkpoint was read with the task_index {checkpoint.task_index}, not {manifest.task_index}."
        raise InvalidTaskIndex(message, param="manifest.task_index")
    check_task_fields(checkpoint, manifest)
    digest = content_digest(checkpoint.prefix.kind, checkpoint, manifest)
    return VersionDraft(checkpoint, manifest, digest, actor)


def publish(
    connection: Connection,
    fingerprint: str,
    task: str,
    draft: VersionDraft,
    *,
    promote: bool,
    description: str,
    first_is_production: bool = True,
) -> Published:
    """Make the draft a version of a live task, unless its content is one already, and promote it where it should be.

    `first_is_production` promotes a task's only live version also without `promote`.

    Raises InvalidManifest for a parent version that the task never had.
    """
    tasks.create(connection, fingerprint, task, description, draft.actor)
    production = aliases.key(connection, fingerprint, task, PRODUCTION)
    promote = promote or (first_is_production and not versions.has_live(connection, production.task_id))
    return _add(connection, production, draft, promote=promote)


def publish_ensemble(
    connection: Connection,
    fingerprint: str,
    task: str,
    numbers: Sequence[int],
    manifest: Manifest,
    *,
    promote: bool,
    actor: str,
) -> Published:
    """As publish, of an ensemble of a live task's versions. Raises TaskNotFound, InvalidMembers and InvalidManifest."""
    production = aliases.key(connection, fingerprint, task, PRODUCTION)
    live = [versions.record(row) for row in versions.live_rows(connection, production.task_id, numbers)]
    draft = draft_ensemble(task, numbers, live, manifest, actor=actor)
    if draft.task_type is not None:
        _check_equal_heads(connection, production.task_id, numbers)
    return _add(connection, production, draft, promote=promote)


def _check_equal_heads(connection: Connection, task_id: int, numbers: Sequence[int]) -> None:
    """Raise InvalidMembers unless the heads have the same parameters, the number of labels among them."""
    rows = versions.live_rows(connection, task_id, numbers)
    first, *others = [tensors.head_shapes(connection, row.id) for row in rows]
    for row, other in zip(rows[1:], others, strict=True):
        if other != first:
            raise InvalidMembers(f"Versions {rows[0].number} and {row.number} have heads of different sizes.")


def _add(
    connection: Connection, production: AliasKey, draft: VersionDraft | EnsembleDraft, *, promote: bool
) -> Published:
    fingerprint, task = production.fingerprint, production.task
    number = versions.live_number(connection, production.task_id, draft.digest)
    created = number is None
    if number is None:
        number = tasks.next_version(connection, production.task_id)
        _check_parent(draft.manifest, number)
        version_id = versions.add(connection, production.task_id, number, draft)
        if isinstance(draft, VersionDraft):
            tensors.add(connection, version_id, draft.checkpoint)
        kind = ChangeKind.VERSION_PUBLISHED
        changes.record(connection, kind, fingerprint, task, version=number, actor=draft.actor)
    if promote:
        aliases.promote(connection, production, number, Author(draft.actor))
    version = versions.record(versions.row(connection, fingerprint, task, number))
    promoted = tasks.get(connection, fingerprint, task).production_version == number
    return Published(version, created, promoted)


def _check_parent(manifest: Manifest, number: int) -> None:
    if manifest.parent_version is not None and manifest.parent_version >= number:
        message = f"The task has never had a version {manifest.parent_version}."
        raise InvalidManifest(message, param="manifest.parent_version")
