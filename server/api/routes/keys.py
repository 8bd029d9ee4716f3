"""`/v1/keys`: create, list and revoke API keys; `/v1/keys/self`: the caller; `/v1/audit`: the log of changes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from prompts_store.keys import KeyGrant, KeyLimits
from prompts_store.store import Store
from server.api.access.access import AccessDep
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest
from server.api.management.key_bodies import audit_body, caller_body, key_body
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, page_response, page_size
from server.api.management.store_access import StoreAccessDep
from server.api.responses.documented import errors
from server.api.responses.json_response import json_response
from server.api.wire.keys import AuditLog, CallerKey, CreatedKey, CreateKey, Key, KeyList

router = APIRouter(tags=["keys"], route_class=GuardedRoute)

_MAX_ID = 2**63 - 1


@router.post(
    "/v1/keys",
    name="create",
    summary="Create a key",
    response_model=CreatedKey,
    status_code=201,
    responses=errors(409, 413, 415),
    dependencies=[requires(Scope.ADMIN)],
)
async def create_key(body: CreateKey, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Create an API key. Only this response contains the secret."""
    created = await store_access.write(Store.create_key, _grant(body), actor=caller.actor)
    answer = CreatedKey(**dict(key_body(created.record)), key=created.secret)
    return json_response(answer, status=201, headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/keys",
    name="list",
    summary="List keys",
    response_model=KeyList,
    responses=errors(),
    dependencies=[requires(Scope.ADMIN)],
)
async def list_keys(
    store_access: StoreAccessDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    after: Annotated[str | None, Query(description="Start after this name.")] = None,
) -> Response:
    """List all keys by name, revoked keys included."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read(Store.list_keys, after=after, limit=size + 1)
    return page_response(KeyList, found, size, key_body)


@router.get(
    "/v1/keys/self",
    name="self",
    summary="Get the caller's key",
    response_model=CallerKey,
    responses=errors(),
    dependencies=[requires(Scope.ANY)],
)
async def get_own_key(access: AccessDep, caller: CallerDep) -> Response:
    """Return the caller's own scopes, tasks and limits. On a server without keys, everybody has every scope."""
    return json_response(caller_body(caller, access.quotas.limits_of(caller)), headers={"Cache-Control": "no-store"})


@router.delete(
    "/v1/keys/{key_name}",
    name="revoke",
    summary="Revoke a key",
    response_model=Key,
    responses=errors(404),
    dependencies=[requires(Scope.ADMIN)],
)
async def revoke_key(key_name: str, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Revoke a key for good. Every server refuses it within a second. Its running requests finish."""
    return json_response(key_body(await store_access.write(Store.revoke_key, key_name, actor=caller.actor)))


@router.get(
    "/v1/audit",
    name="audit",
    summary="List the audit log",
    response_model=AuditLog,
    responses=errors(),
    dependencies=[requires(Scope.ADMIN)],
)
async def audit(
    store_access: StoreAccessDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    before: Annotated[int | None, Query(ge=1, le=_MAX_ID, description="Start below this id.")] = None,
) -> Response:
    """List all changes of tasks, versions, aliases and keys, newest first."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read(Store.audit, before=before, limit=size + 1)
    return page_response(AuditLog, found, size, audit_body)


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
