"""`/v1/keys`: create, list and revoke API keys; `/v1/audit`: the log of changes."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query, Response

from prompts_store.keys import KeyGrant, KeyLimits, KeyRecord
from prompts_store.records import Change
from prompts_store.store import Store
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, page_of, page_size
from server.api.management.store_access import read, write
from server.api.responses.documented import errors
from server.api.responses.json_response import json_response
from server.api.services import ServicesDep
from server.api.wire.keys import AuditEntry, AuditLog, CreatedKey, CreateKey, Key, KeyList, KeyScope

router = APIRouter(tags=["keys"], route_class=GuardedRoute)

_MAX_ID = 2**63 - 1


@router.post(
    "/v1/keys",
    name="create",
    response_model=CreatedKey,
    status_code=201,
    responses=errors(409, 413, 415),
    dependencies=[requires(Scope.ADMIN)],
)
async def create_key(body: CreateKey, services: ServicesDep, caller: CallerDep) -> Response:
    """Create an API key. Only this response contains the secret."""
    created = await write(services, Store.create_key, _grant(body), actor=caller.actor)
    answer = CreatedKey(**dict(key_body(created.record)), key=created.secret)
    return json_response(answer, status=201, headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/keys",
    name="list",
    response_model=KeyList,
    responses=errors(),
    dependencies=[requires(Scope.ADMIN)],
)
async def list_keys(
    services: ServicesDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    after: Annotated[str | None, Query(description="Start after this name.")] = None,
) -> Response:
    """List all keys by name, revoked keys included."""
    size = page_size(limit, services.settings.limits)
    found = await read(services, Store.list_keys, after=after, limit=size + 1)
    page, has_more = page_of(found, size)
    return json_response(KeyList(object="list", data=[key_body(key) for key in page], has_more=has_more))


@router.delete(
    "/v1/keys/{key_name}",
    name="revoke",
    response_model=Key,
    responses=errors(404),
    dependencies=[requires(Scope.ADMIN)],
)
async def revoke_key(key_name: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Revoke a key for good. Every server refuses it within a second. Its running requests finish."""
    return json_response(key_body(await write(services, Store.revoke_key, key_name, actor=caller.actor)))


@router.get(
    "/v1/audit",
    name="audit",
    response_model=AuditLog,
    responses=errors(),
    dependencies=[requires(Scope.ADMIN)],
)
async def audit(
    services: ServicesDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    before: Annotated[int | None, Query(ge=1, le=_MAX_ID, description="Start below this id.")] = None,
) -> Response:
    """List all changes of tasks, versions, aliases and keys, newest first."""
    size = page_size(limit, services.settings.limits)
    found = await read(services, Store.audit, before=before, limit=size + 1)
    page, has_more = page_of(found, size)
    return json_response(AuditLog(object="list", data=[_entry(change) for change in page], has_more=has_more))


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


def _grant(body: CreateKey) -> KeyGrant:
    """The grant to store. Raises `InvalidRequest` for a timestamp without a UTC offset."""
    if body.expires_at is not None and body.expires_at.utcoffset() is None:
        raise InvalidRequest("expires_at has no time zone: add one, such as Z", param="expires_at")
    return KeyGrant(
        name=body.name,
        scopes=frozenset(body.scopes),
        tasks=None if body.tasks is None else tuple(body.tasks),
        expires_at=body.expires_at,
        best_priority=body.best_priority,
        limits=KeyLimits(body.max_requests_per_minute, body.max_tokens_per_minute, body.max_concurrent),
        salt=body.salt,
    )


def _entry(change: Change) -> AuditEntry:
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
