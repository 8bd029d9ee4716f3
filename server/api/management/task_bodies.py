"""Conversion of the store's records into wire bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import prompts_store.records as store
from prompts_store.checkpoint_records import LeftOut
from prompts_store.manifest import Manifest
from prompts_store.reports import PurgeReport
from server.api.wire.tasks import (
    Alias,
    AliasMove,
    AliasTarget,
    LeftOutTensor,
    PublishedVersion,
    Purged,
    Task,
    Version,
    VersionManifest,
)

_LATER_FIELDS = ("chat_template", "pooling", "normalize", "problem_type")
_UNSET = {name: getattr(Manifest(), name) for name in _LATER_FIELDS}


def task_body(record: store.TaskRecord, *, is_read_only: bool = False) -> Task:
    """A task on the wire."""
    body = Task(
        object="task",
        name=record.name,
        description=record.description,
        created_at=record.created_at,
        latest_version=record.latest_version,
        production_version=record.production_version,
    )
    if is_read_only:
        body.read_only = True
    return body


def purged_body(report: PurgeReport) -> Purged:
    """The answer to a purge."""
    return Purged(
        object="task.purged",
        task=report.task,
        num_versions=report.num_versions,
        num_tensors=report.num_tensors,
        num_tensor_bytes=report.num_tensor_bytes,
        num_shared_tensors=report.num_shared_tensors,
        num_alias_moves=report.num_alias_moves,
        num_jobs=report.num_jobs,
        num_files=report.num_files,
        log_is_clear=report.log_is_clear,
        num_batches=report.num_batches,
        num_interrupted_runs=report.num_interrupted_runs,
    )


def version_body(record: store.VersionRecord) -> Version:
    """A version on the wire."""
    return Version(
        object="task.version",
        task=record.task,
        version=record.version,
        digest=record.digest,
        prefix_digest=record.prefix_digest,
        peft_type=None if record.peft_type is None else record.peft_type.value,
        **({"task_type": record.task_type} if record.has_head else {}),
        num_virtual_tokens=record.num_virtual_tokens,
        members=[member.version for member in record.members],
        base_model_name=record.base_name,
        base_fingerprint=record.base_fingerprint,
        manifest=_manifest_body(record.manifest),
        created_at=record.created_at,
        created_by=record.created_by,
        retired_at=record.retired_at,
    )


def published_body(published: store.Published, left_out: Sequence[LeftOut]) -> PublishedVersion:
    """The answer to a publish."""
    version = version_body(published.version)
    body = PublishedVersion(**dict(version), created=published.created, promoted=published.promoted)
    if left_out:
        body.left_out = [
            LeftOutTensor(name=tensor.name, num_bytes=tensor.num_bytes, note=tensor.describe()) for tensor in left_out
        ]
    return body


def alias_body(record: store.AliasRecord) -> Alias:
    """An alias on the wire; its etag goes into a header."""
    return Alias(
        object="task.alias",
        task=record.task,
        alias=record.alias,
        version=record.version,
        targets=_targets(record.targets),
        shadow_of=record.shadow_of,
        updated_at=record.updated_at,
        updated_by=record.updated_by,
        reason=record.reason,
    )


def move_body(move: store.AliasMove) -> AliasMove:
    """One entry of an alias's history on the wire."""
    return AliasMove(
        object="task.alias.move",
        from_version=move.from_version,
        to_version=move.to_version,
        from_targets=_targets(move.from_targets),
        to_targets=_targets(move.to_targets),
        shadow_of=move.shadow_of,
        moved_at=move.moved_at,
        moved_by=move.moved_by,
        reason=move.reason,
    )


def _targets(targets: Sequence[store.AliasTarget]) -> list[AliasTarget]:
    return [AliasTarget(version=target.version, weight=target.weight) for target in targets]


def _manifest_body(manifest: Manifest) -> VersionManifest:
    return VersionManifest(
        template=manifest.template,
        labels=list(manifest.labels),
        stop=list(manifest.stop),
        add_special_tokens=manifest.add_special_tokens,
        defaults=dict(manifest.defaults),
        task_index=manifest.task_index,
        metrics=dict(manifest.metrics),
        note=manifest.note,
        parent_version=manifest.parent_version,
        training_data_digest=manifest.training_data_digest,
        **_later_fields(manifest),
    )


def _later_fields(manifest: Manifest) -> dict[str, Any]:
    """The fields that are absent unless they are set."""
    return {name: value for name in _LATER_FIELDS if (value := getattr(manifest, name)) != _UNSET[name]}
