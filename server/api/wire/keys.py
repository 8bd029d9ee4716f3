"""`/v1/keys` and `/v1/audit`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, Strict

from prompts_store.keys import MAX_LIMIT, MAX_PRIORITY, MAX_TASKS
from server.api.wire.bodies import RequestBody, ResponseBody

_Limit = Annotated[int | None, Field(ge=1, le=MAX_LIMIT)]
KeyScope = Literal["infer", "tasks:read", "tasks:write", "tune", "admin"]


class CreateKey(RequestBody):
    """A new key. A field that is left out, or null, means no limit, or the server's default limit."""

    name: str
    """A name that follows the rule of task names. A name is never given twice, even after revocation."""
    scopes: list[KeyScope] = Field(min_length=1, max_length=5)
    """The scopes of the key. `admin` includes all others."""
    tasks: list[str] | None = Field(default=None, min_length=1, max_length=MAX_TASKS)
    """The only tasks that the key may name. If set, the key cannot use the bare base model."""
    expires_at: Annotated[datetime, Strict(False)] | None = None
    """Time of expiry: ISO 8601 with a time zone, in the future."""
    best_priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)
    """The lowest `priority` number, and so the earliest scheduling, that the key's requests may ask for."""
    max_requests_per_minute: _Limit = None
    max_tokens_per_minute: _Limit = None
    max_concurrent: _Limit = None
    """Maximum number of requests at once."""
    salt: str | None = None
    """Keys with the same salt share cached text. A key without a salt shares with no other key."""


class Key(ResponseBody):
    """A key's record, without the secret."""

    object: Literal["key"]
    name: str
    scopes: list[KeyScope]
    tasks: list[str] | None
    expires_at: datetime | None
    best_priority: int
    max_requests_per_minute: int | None
    max_tokens_per_minute: int | None
    max_concurrent: int | None
    salt: str | None
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    revoked_by: str | None


class CallerLimits(ResponseBody):
    """The limits that hold for a caller. null means unlimited."""

    max_requests_per_minute: int | None
    max_tokens_per_minute: int | None
    max_concurrent: int | None


class CallerKey(ResponseBody):
    """The caller's own rights and limits."""

    object: Literal["key.self"]
    name: str
    """The caller, as the audit log names the author of a change."""
    scopes: list[KeyScope]
    """The caller's scopes. `admin` includes all others."""
    tasks: list[str] | None
    """The only tasks that the caller may name; null for all, and for the base model."""
    expires_at: datetime | None
    limits: CallerLimits


class CreatedKey(Key):
    """A new key's record, with the secret."""

    key: str
    """The secret that clients send. It is shown only once."""


class KeyList(ResponseBody):
    """A page of keys by name, revoked keys included."""

    object: Literal["list"]
    data: list[Key]
    has_more: bool
    """True if more keys follow. To get them, send the last name as `after`."""


class AuditEntry(ResponseBody):
    """One change, with its time and its author."""

    object: Literal["audit.entry"]
    id: int
    """Number of the entry. A later change has a larger one."""
    kind: str
    """The kind of change, such as `version_published`, `alias_moved` or `key_revoked`."""
    base_fingerprint: str | None
    """The fingerprint of the task's base model."""
    task: str | None
    version: int | None
    alias: str | None
    key: str | None
    """The name of the key that was changed."""
    changed_at: datetime
    changed_by: str
    """The author: `key:NAME`, `admin-key`, `anonymous` (a server without keys), `cli`, `tasks-dir` or `demo`."""


class AuditLog(ResponseBody):
    """A page of changes, newest first."""

    object: Literal["list"]
    data: list[AuditEntry]
    has_more: bool
    """True if older entries follow. To get them, send the last id as `before`."""
