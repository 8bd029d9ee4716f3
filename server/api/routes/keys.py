"""`/v1/keys`: make, list and revoke API keys; `/v1/audit`: who changed what, and when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from prompts_store.keys import KeyGrant, KeyLimits
from prompts_store.store import Store
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest
from server.api.management.key_bodies import audit_body, key_body
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, cut, page_size
from server.api.management.store_access import StoreAccessDep
from server.api.responses.documented import errors
from server.api.responses.json_response import json_response
from server.api.wire.keys import AuditLog, CreatedKey, CreateKey, Key, KeyList

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
async def create_key(body: CreateKey, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Make an API key. The answer is the only time that the key itself is seen."""
    created = await store_access.write(Store.create_key, _grant(body), actor=caller.actor)
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
    store_access: StoreAccessDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    after: Annotated[str | None, Query(description="Begin behind this name.")] = None,
) -> Response:
    """Every key by name, revoked ones too."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read(Store.list_keys, after=after, limit=size + 1)
    page, has_more = cut(found, size)
    return json_response(KeyList(object="list", data=[key_body(key) for key in page], has_more=has_more))


@router.delete(
    "/v1/keys/{key_name}",
    name="revoke",
    response_model=Key,
    responses=errors(404),
    dependencies=[requires(Scope.ADMIN)],
)
async def revoke_key(key_name: str, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Revoke a key for good, on every server within a second. Requests that it has begun finish."""
    return json_response(key_body(await store_access.write(Store.revoke_key, key_name, actor=caller.actor)))


@router.get(
    "/v1/audit",
    name="audit",
    response_model=AuditLog,
    responses=errors(),
    dependencies=[requires(Scope.ADMIN)],
)
async def audit(
    store_access: StoreAccessDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    before: Annotated[int | None, Query(ge=1, le=_MAX_ID, description="Begin below this id.")] = None,
) -> Response:
    """Every change of tasks, versions, aliases and keys, newest first."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read(Store.audit, before=before, limit=size + 1)
    page, has_more = cut(found, size)
    return json_response(AuditLog(object="list", data=[audit_body(change) for change in page], has_more=has_more))


def _grant(body: CreateKey) -> KeyGrant:
    """What the store is asked for. Raises `InvalidRequest` for a time that means another one in every time zone."""
    if body.expires_at is not None and body.expires_at.utcoffset() is None:
        raise InvalidRequest("the time needs a time zone, such as Z", param="expires_at")
    return KeyGrant(
        name=body.name,
        scopes=frozenset(body.scopes),
        tasks=None if body.tasks is None else tuple(body.tasks),
        expires_at=body.expires_at,
        best_priority=body.best_priority,
        limits=KeyLimits(body.max_requests_per_minute, body.max_tokens_per_minute, body.max_concurrent),
        salt=body.salt,
    )
