"""`/v1/tasks/{task}/aliases`: read, move, delete, roll back, and the history."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from prompts_store.records import AliasRecord, AliasTarget
from prompts_store.store import Store
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest, PreconditionRequired
from server.api.inference.inference import InferenceDep
from server.api.management.store_access import WRITABLE_TASK, StoreAccessDep
from server.api.management.task_bodies import alias_body, move_body
from server.api.responses.documented import errors, etagged
from server.api.responses.json_response import json_response
from server.api.wire.tasks import Agreement, Alias, AliasHistory, AliasList, MoveAlias, RollBack

_ETAG = re.compile(r'"([\x21\x23-\x7e]{1,128})"')

IfMatch = Annotated[str | None, Header(description="The `ETag` that the alias must have. `*`: it must exist.")]
IfNoneMatch = Annotated[str | None, Header(description="`*`: the alias must not exist.")]

router = APIRouter(tags=["aliases"], route_class=GuardedRoute)


@router.get(
    "/v1/tasks/{task}/aliases",
    name="list",
    summary="List the aliases of a task",
    response_model=AliasList,
    responses=errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def list_aliases(task: str, store_access: StoreAccessDep) -> Response:
    """List all aliases of a task, by name."""
    found = await store_access.read(Store.list_aliases, store_access.fingerprint, task)
    return json_response(AliasList(object="list", data=[alias_body(alias) for alias in found]))


@router.get(
    "/v1/tasks/{task}/aliases/{alias}",
    name="get",
    summary="Get an alias",
    response_model=Alias,
    responses=etagged() | errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def get_alias(task: str, alias: str, store_access: StoreAccessDep, inference: InferenceDep) -> Response:
    """Return an alias with its targets. To move it, send its `ETag` as `If-Match`."""
    found = await store_access.read(Store.get_alias, store_access.fingerprint, task, alias)
    body = alias_body(found)
    if found.shadow_of is not None:
        counts = inference.shadows.agreement(task, found.shadow_of, found.version)
        body.agreement = Agreement(**asdict(counts))
    return json_response(body, headers=_etag_header(found))


@router.put(
    "/v1/tasks/{task}/aliases/{alias}",
    name="put",
    summary="Create or move an alias",
    response_model=Alias,
    responses=etagged() | errors(404, 409, 412, 413, 415, 428),
    dependencies=[requires(Scope.TASKS_WRITE), WRITABLE_TASK],
)
async def put_alias(
    task: str,
    alias: str,
    body: MoveAlias,
    store_access: StoreAccessDep,
    caller: CallerDep,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Move an alias whose `ETag` equals `If-Match`, or create one with `If-None-Match: *`."""
    if (if_match is None) == (if_none_match is None):
        raise PreconditionRequired(
            "send If-Match with the alias's ETag to move it, or If-None-Match: * to create it, but not both"
        )
    if if_none_match not in (None, "*"):
        raise InvalidRequest("If-None-Match must be *", param="if-none-match")
    moved = await store_access.write(
        Store.put_alias,
        store_access.fingerprint,
        task,
        alias,
        _targets(body),
        if_match=_etag(if_match),
        must_not_exist=if_none_match is not None,
        shadow_of=body.shadow_of,
        actor=caller.actor,
        reason=body.reason,
    )
    return _respond(moved)


@router.delete(
    "/v1/tasks/{task}/aliases/{alias}",
    name="delete",
    summary="Delete an alias",
    status_code=204,
    responses=errors(404, 409, 412),
    dependencies=[requires(Scope.TASKS_WRITE), WRITABLE_TASK],
)
async def delete_alias(
    task: str,
    alias: str,
    store_access: StoreAccessDep,
    caller: CallerDep,
    if_match: IfMatch = None,
    reason: Annotated[str, Query(description="The reason, kept in the history.")] = "",
) -> Response:
    """Delete an alias. Its history stays. With `If-Match`, delete it only if its `ETag` is equal."""
    await store_access.write(
        Store.delete_alias,
        store_access.fingerprint,
        task,
        alias,
        if_match=_etag(if_match),
        actor=caller.actor,
        reason=reason,
    )
    return Response(status_code=204)


@router.get(
    "/v1/tasks/{task}/aliases/{alias}/history",
    name="history",
    summary="List the moves of an alias",
    response_model=AliasHistory,
    responses=errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def alias_history(task: str, alias: str, store_access: StoreAccessDep) -> Response:
    """List the latest moves of an alias, newest first."""
    moves = await store_access.read(Store.alias_history, store_access.fingerprint, task, alias)
    return json_response(AliasHistory(object="list", data=[move_body(move) for move in moves]))


@router.post(
    "/v1/tasks/{task}/aliases/{alias}/rollback",
    name="rollback",
    summary="Roll an alias back",
    response_model=Alias,
    responses=etagged() | errors(404, 409, 413, 415),
    dependencies=[requires(Scope.TASKS_WRITE), WRITABLE_TASK],
)
async def roll_back_alias(
    task: str, alias: str, store_access: StoreAccessDep, caller: CallerDep, body: RollBack | None = None
) -> Response:
    """Undo the last move of an alias, with all its targets. A second call undoes the move before it."""
    reason = "" if body is None else body.reason
    moved = await store_access.write(
        Store.rollback, store_access.fingerprint, task, alias, actor=caller.actor, reason=reason
    )
    return _respond(moved)


def _targets(body: MoveAlias) -> int | list[AliasTarget]:
    """The new version or targets. Raises `InvalidRequest` unless exactly one of the two is given."""
    if body.targets is not None and body.version is None:
        return [AliasTarget(target.version, target.weight) for target in body.targets]
    if body.targets is None and body.version is not None:
        return body.version
    raise InvalidRequest("send either version or targets", param="targets" if body.targets else "version")


def _respond(alias: AliasRecord) -> Response:
    return json_response(alias_body(alias), headers=_etag_header(alias))


def _etag_header(alias: AliasRecord) -> dict[str, str]:
    return {"ETag": f'"{alias.etag}"'}


def _etag(header: str | None) -> str | None:
    """The tag without its quotes (RFC 9110, section 8.8.3); "*" stays. Raises `InvalidRequest` for anything else."""
    if header is None or header == "*":
        return header
    match = _ETAG.fullmatch(header.strip())
    if match is None:
        raise InvalidRequest('If-Match must be one strong ETag in double quotes, or "*"', param="if-match")
    return match[1]
