"""API keys as the store keeps them: the rights of a key, never the key itself.

A key is 256 random bits, and only its SHA-256 is stored: 256 bits of entropy need no salt and no slow hash. A key is
identified by its name, which is never given twice, so that the audit log stays unambiguous. The server defines the
meaning of scopes.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from prompts_store.errors import InvalidKey
from prompts_store.names import NAME_RULE, TASK_NAME, check_task_name

SECRET_PREFIX = "sp-"
SCOPES = frozenset({"infer", "tasks:read", "tasks:write", "tune", "admin"})
MAX_TASKS = 100
MAX_PRIORITY = 100
MAX_LIMIT = 2**31 - 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The quotas of one key. None means the server's default."""

    max_requests_per_minute: int | None = None
    max_tokens_per_minute: int | None = None
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """The rights of a key.

    `tasks` None allows every task and the base model. `best_priority` is the lowest priority number, and so the
    earliest scheduling, that the key may ask for. Keys with the same `salt` share cached text. A key without a salt
    shares with no other key.
    """

    name: str
    scopes: frozenset[str]
    tasks: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    best_priority: int = 0
    limits: KeyLimits = KeyLimits()
    salt: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key that exists or existed. `sha256` is the digest of the key, in lowercase hexadecimal."""

    grant: KeyGrant
    sha256: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    @property
    def name(self) -> str:
        """The key's name."""
        return self.grant.name

    def is_live(self, now: datetime) -> bool:
        """Whether the key is valid at this time."""
        expires_at = self.grant.expires_at
        return self.revoked_at is None and (expires_at is None or now < expires_at)


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `secret` is shown once and kept nowhere."""

    record: KeyRecord
    secret: str


@dataclass(frozen=True, slots=True)
class KeyTable:
    """The keys that are not revoked, and whether a key was ever created."""

    keys: tuple[KeyRecord, ...]
    ever_had_keys: bool


def new_secret() -> str:
    """Return a new key: 256 random bits in 43 characters that fit into a header."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return the SHA-256 by which a key is stored and found."""
    return hashlib.sha256(secret.encode("utf-8", errors="surrogatepass")).hexdigest()


def check_digest(sha256: str) -> None:
    """Raise InvalidKey unless this is a SHA-256 in lowercase hexadecimal."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidKey("A digest must have 64 of the characters 0-9 and a-f.", param="sha256")


def check_key_name(name: str) -> None:
    """Raise InvalidKey unless `name` can be a key's."""
    if not TASK_NAME.fullmatch(name):
        raise InvalidKey(f"A key's name must have {NAME_RULE}.", param="name")


def check_grant(grant: KeyGrant) -> None:
    """Raise InvalidKey for an invalid grant, InvalidName for an invalid task name."""
    check_key_name(grant.name)
    if not grant.scopes or not grant.scopes <= SCOPES:
        raise InvalidKey(f"scopes must be one or more of {', '.join(sorted(SCOPES))}.", param="scopes")
    if grant.salt is not None and not TASK_NAME.fullmatch(grant.salt):
        raise InvalidKey(f"A salt must have {NAME_RULE}.", param="salt")
    if not -MAX_PRIORITY <= grant.best_priority <= MAX_PRIORITY:
        raise InvalidKey(f"best_priority must be from -{MAX_PRIORITY} to {MAX_PRIORITY}.", param="best_priority")
    if grant.expires_at is not None and grant.expires_at <= datetime.now(UTC):
        raise InvalidKey("expires_at is in the past; it must be in the future.", param="expires_at")
    _check_tasks(grant)
    for name in KeyLimits.__slots__:
        value = getattr(grant.limits, name)
        if value is not None and not 0 < value <= MAX_LIMIT:
            raise InvalidKey(f"{name} must be from 1 to {MAX_LIMIT}.", param=name)


def _check_tasks(grant: KeyGrant) -> None:
    if grant.tasks is None:
        return
    if grant.scopes & {"admin", "tune"}:
        message = "A key with the scope admin or tune cannot be restricted to tasks; leave tasks out."
        raise InvalidKey(message, param="tasks")
    if not 0 < len(grant.tasks) <= MAX_TASKS:
        message = f"There are {len(grant.tasks)} tasks; a key is restricted to 1 to {MAX_TASKS}, or not at all."
        raise InvalidKey(message, param="tasks")
    for task in grant.tasks:
        check_task_name(task)
