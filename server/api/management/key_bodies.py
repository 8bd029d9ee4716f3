"""The store's keys and changes become wire bodies."""

from __future__ import annotations

from typing import cast

from prompts_store.keys import KeyLimits, KeyRecord
from prompts_store.records import Change
from server.api.access.caller import Caller
from server.api.wire.keys import AuditEntry, CallerKey, CallerLimits, Key, KeyScope


def key_body(record: KeyRecord) -> Key:
    """A key on the wire."""
    grant = record.grant
    return Key(
        object="key",
        name=grant.name,
        scopes=cast(list[KeyScope], sorted(grant.scopes)),
        tasks=None if grant.tasks is None else list(grant.tasks),
        expires_at=grant.expires_at,
        best_priority=grant.best_priority,
        max_requests_per_minute=grant.limits.max_requests_per_minute,
        max_tokens_per_minute=grant.limits.max_tokens_per_minute,
        max_concurrent=grant.limits.max_concurrent,
        salt=grant.salt,
        created_at=record.created_at,
        created_by=record.created_by,
        revoked_at=record.revoked_at,
        revoked_by=record.revoked_by,
    )


def caller_body(caller: Caller, limits: KeyLimits) -> CallerKey:
    """A caller on the wire, with the limits that hold for them."""
    return CallerKey(
        object="key.self",
        name=caller.actor,
        scopes=cast(list[KeyScope], sorted(caller.scopes)),
        tasks=None if caller.tasks is None else sorted(caller.tasks),
        expires_at=caller.expires_at,
        limits=CallerLimits(
            max_requests_per_minute=limits.max_requests_per_minute,
            max_tokens_per_minute=limits.max_tokens_per_minute,
            max_concurrent=limits.max_concurrent,
        ),
    )


def audit_body(change: Change) -> AuditEntry:
    """An entry of the audit log on the wire."""
    return AuditEntry(
        object="audit.entry",
        id=change.id,
        kind=change.kind.value,
        base_fingerprint=change.fingerprint or None,
        task=change.task or None,
        version=change.version,
        alias=change.alias,
        key=change.key,
        changed_at=change.changed_at,
        changed_by=change.changed_by,
    )
