"""Tensors in the database: canonical float32 bytes under their sha256, written once, verified on every read."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, insert, select

from prompts_store.checkpoint.digests import canonical_bytes, content_digest
from prompts_store.checkpoint.head import HEAD_PREFIX
from prompts_store.checkpoint.layouts import LAYOUTS
from prompts_store.checkpoint.prefix import restore_prefix
from prompts_store.checkpoint_records import Checkpoint, StoredTensor
from prompts_store.errors import NoCheckpoint, StoreCorrupt, VersionNotFound
from prompts_store.records import VersionContent
from prompts_store.sql import versions
from prompts_store.sql.tables import tensors, version_tensors
from prompts_store.strict_json import canonical


def add(connection: Connection, version_id: int, checkpoint: Checkpoint) -> None:
    """Store a version's tensors. Bytes that are already stored are shared."""
    for tensor in checkpoint.tensors:
        data = canonical_bytes(tensor.values)
        sha256 = hashlib.sha256(data).hexdigest()
        if connection.scalar(select(tensors.c.sha256).where(tensors.c.sha256 == sha256)) is None:
            connection.execute(insert(tensors).values(sha256=sha256, data=data))
        connection.execute(
            insert(version_tensors).values(
                version_id=version_id,
                name=tensor.name,
                original_dtype=tensor.original_dtype,
                shape=canonical(list(tensor.values.shape)),
                sha256=sha256,
            )
        )


def rows(connection: Connection, version: Row[Any]) -> list[Row[Any]]:
    """Return a version's tensors with their bytes, by name.

    Raises VersionNotFound for those that gc has freed, and NoCheckpoint for an ensemble.
    """
    if version.freed_at is not None:
        raise VersionNotFound(f'Version {version.number} of task "{version.name}" was retired and its tensors freed.')
    if version.members is not None:
        raise NoCheckpoint(
            f'Version {version.number} of task "{version.name}" is an ensemble; its members have tensors.'
        )
    joined = version_tensors.join(tensors, tensors.c.sha256 == version_tensors.c.sha256)
    query = select(version_tensors, tensors.c.data).select_from(joined)
    query = query.where(version_tensors.c.version_id == version.id).order_by(version_tensors.c.name)
    return list(connection.execute(query))


def head_shapes(connection: Connection, version_id: int) -> dict[str, str]:
    """Return the stored shapes of a version's head, by the names of its tensors."""
    found = connection.execute(select(version_tensors).where(version_tensors.c.version_id == version_id))
    return {row.name: row.shape for row in found if row.name.startswith(HEAD_PREFIX)}


def restore(version: Row[Any], tensor_rows: list[Row[Any]]) -> VersionContent:
    """Build a version from its rows and verify its digests. Raises StoreCorrupt."""
    try:
        return _restore(version, tensor_rows)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreCorrupt(f'Version {version.number} of task "{version.name}" cannot be read back.') from error


def _restore(version: Row[Any], tensor_rows: list[Row[Any]]) -> VersionContent:
    record = versions.record(version)
    assert record.peft_type is not None
    checkpoint = Checkpoint(
        peft_type=record.peft_type,
        num_virtual_tokens=record.num_virtual_tokens,
        config=json.loads(version.config),
        tensors=tuple(_verified(row) for row in tensor_rows),
    )
    corrupt = StoreCorrupt(f'Version {record.version} of task "{record.task}" does not agree with its digest.')
    if content_digest(LAYOUTS[record.peft_type].kind, checkpoint, record.manifest) != record.digest:
        raise corrupt
    prefix = restore_prefix(checkpoint, record.manifest.task_index, tuple(json.loads(version.prefix_shape)))
    if prefix.digest != record.prefix_digest:
        raise corrupt
    return VersionContent(record, checkpoint, prefix)


def _verified(row: Row[Any]) -> StoredTensor:
    shape = json.loads(row.shape)
    if hashlib.sha256(row.data).hexdigest() != row.sha256 or len(row.data) != 4 * math.prod(shape):
        raise StoreCorrupt("A stored tensor does not agree with its digest.")
    values = np.frombuffer(row.data, "<f4").astype(np.float32)
    return StoredTensor(row.name, row.original_dtype, values.reshape(shape))
