"""The interface of the key commands to a server or to a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from server.cli.connection import Connection, connect, json_object
from server.cli.database import open_database
from server.cli.where import LocationOptions

if TYPE_CHECKING:
    from prompts_store.keys import KeyGrant, KeyRecord
    from prompts_store.records import Change
    from prompts_store.store import Store

ACTOR = "cli"
_PAGE = 100


class KeyBackend(Protocol):
    """The keys of a server or of a database, as the bodies of the HTTP API. Methods raise CliError or StoreError."""

    def create(self, grant: KeyGrant) -> Mapping[str, Any]:
        """Create a key. The result contains its secret as `key`."""

    def list(self) -> Sequence[Mapping[str, Any]]:
        """Return every key, by name."""

    def revoke(self, name: str) -> Mapping[str, Any]:
        """Revoke a key."""

    def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return the latest changes, newest first."""


@contextmanager
def open_keys(where: LocationOptions) -> Iterator[KeyBackend]:
    """Open the database if the options name one, else a connection to the server."""
    if where.database_url is None and where.data_dir is None:
        with connect(where.url, where.api_key) as connection:
            yield HttpKeyBackend(connection)
    else:
        with open_database(where.database_url, where.data_dir) as store:
            yield StoreKeyBackend(store)


@dataclass(frozen=True, slots=True)
class HttpKeyBackend:
    """The keys of a server, over HTTP with an admin key."""

    connection: Connection

    def create(self, grant: KeyGrant) -> Mapping[str, Any]:
        """See `KeyBackend`."""
        return json_object(self.connection.send("POST", "/v1/keys", json=_wire(grant)))

    def list(self) -> Sequence[Mapping[str, Any]]:
        """See `KeyBackend`."""
        found: list[Mapping[str, Any]] = []
        while True:
            after = {"after": found[-1]["name"]} if found else {}
            page = self.connection.read("/v1/keys", params={"limit": _PAGE, **after})
            found.extend(page["data"])
            if not page["has_more"]:
                return found

    def revoke(self, name: str) -> Mapping[str, Any]:
        """See `KeyBackend`."""
        return json_object(self.connection.send("DELETE", f"/v1/keys/{quote(name, safe='')}"))

    def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """See `KeyBackend`."""
        found: list[Mapping[str, Any]] = []
        while len(found) < limit:
            before = {"before": found[-1]["id"]} if found else {}
            page = self.connection.read("/v1/audit", params={"limit": min(_PAGE, limit - len(found)), **before})
            found.extend(page["data"])
            if not page["has_more"]:
                break
        return found


@dataclass(frozen=True, slots=True)
class StoreKeyBackend:
    """The keys of a database. The first key is made here, because a server needs an admin key for it."""

    store: Store

    def create(self, grant: KeyGrant) -> Mapping[str, Any]:
        """See `KeyBackend`."""
        created = self.store.create_key(grant, actor=ACTOR)
        return {**_key_view(created.record), "key": created.secret}

    def list(self) -> Sequence[Mapping[str, Any]]:
        """See `KeyBackend`."""
        found: list[KeyRecord] = []
        while page := self.store.list_keys(after=found[-1].name if found else None, limit=_PAGE):
            found.extend(page)
        return [_key_view(record) for record in found]

    def revoke(self, name: str) -> Mapping[str, Any]:
        """See `KeyBackend`."""
        return _key_view(self.store.revoke_key(name, actor=ACTOR))

    def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """See `KeyBackend`."""
        return [_entry_view(change) for change in self.store.audit(limit=limit)]


def _wire(grant: KeyGrant) -> dict[str, Any]:
    return {
        "name": grant.name,
        "scopes": sorted(grant.scopes),
        "tasks": None if grant.tasks is None else list(grant.tasks),
        "expires_at": None if grant.expires_at is None else grant.expires_at.isoformat(),
        "best_priority": grant.best_priority,
        "max_requests_per_minute": grant.limits.max_requests_per_minute,
        "max_tokens_per_minute": grant.limits.max_tokens_per_minute,
        "max_concurrent": grant.limits.max_concurrent,
        "salt": grant.salt,
    }


def _key_view(record: KeyRecord) -> dict[str, Any]:
    return {
        "object": "key",
        **_wire(record.grant),
        "created_at": record.created_at.isoformat(),
        "created_by": record.created_by,
        "revoked_at": None if record.revoked_at is None else record.revoked_at.isoformat(),
        "revoked_by": record.revoked_by,
    }


def _entry_view(change: Change) -> dict[str, Any]:
    return {
        "object": "audit.entry",
        "id": change.id,
        "kind": change.kind.value,
        "base_fingerprint": change.fingerprint or None,
        "task": change.task or None,
        "version": change.version,
        "alias": change.alias,
        "key": change.key,
        "changed_at": change.changed_at.isoformat(),
        "changed_by": change.changed_by,
    }
