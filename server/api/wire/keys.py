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
    """What a new key is to be allowed. What is left out, or null, is not limited, or the server's default."""

    name: str
    """By the rule of task names; never given twice."""
    scopes: list[KeyScope] = Field(min_length=1, max_length=5)
    """`admin` has all others."""
    tasks: list[str] | None = Field(None, min_length=1, max_length=MAX_TASKS)
    """The only tasks that the key may name; then the bare base model is closed to it."""
    expires_at: Annotated[datetime, Strict(False)] | None = None
    """ISO 8601 with a time zone; in the future."""
    best_priority: int = Field(0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)
    """The lowest `priority`, thus the earliest place in the queue, that its requests may have."""
    max_requests_per_minute: _Limit = None
    max_tokens_per_minute: _Limit = None
    max_concurrent: _Limit = None
    """Most requests at once."""
    salt: str | None = None
    """Keys with the same salt share cached text; a key without one shares with nobody."""


class Key(ResponseBody):
    """A key, without the key itself."""

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


class CreatedKey(Key):
    """A new key, this once with the key itself."""

    key: str
    """What clients send. It cannot be had again."""


class KeyList(ResponseBody):
    """A page of keys by name, revoked ones too."""

    object: Literal["list"]
    data: list[Key]
    has_more: bool
    """Whether keys follow: ask for those `after` the last name."""


class AuditEntry(ResponseBody):
    """One change: what, when and who."""

    object: Literal["audit.entry"]
    id: int
    """Grows with every change."""
    kind: str
    """Such as `version_published`, `alias_moved` or `key_revoked`."""
    base_fingerprint: str | None
    """The base model of the task."""
    task: str | None
    version: int | None
    alias: str | None
    key: str | None
    """The name of the key that was changed."""
    changed_at: datetime
    changed_by: str
    """`key:NAME`, `admin-key`, `anonymous` (a server without keys), `cli`, `tasks-dir` or `demo`."""


class AuditLog(ResponseBody):
    """A page of changes, newest first."""

    object: Literal["list"]
    data: list[AuditEntry]
    has_more: bool
    """Whether older ones follow: ask for those `before` the last id."""
