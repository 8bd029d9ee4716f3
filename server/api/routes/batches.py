"""`/v1/batches`: requests from a file, answered beside the live ones and into files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from prompts_store.batch_records import NewBatch
from prompts_store.batch_store import BatchStore
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import Caller, CallerDep
from server.api.errors import NotReady
from server.api.management.batch_bodies import batch_body
from server.api.management.file_upload import file_access
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, empty_is, page_response, page_size
from server.api.management.store_access import StoreAccessDep
from server.api.management.tuning_bodies import BATCH_ID, FILE_ID
from server.api.responses.documented import errors
from server.api.responses.json_response import json_response
from server.api.services import Services, ServicesDep
from server.api.wire.batches import Batch, BatchList, CreateBatch

_INFER = [requires(Scope.INFER)]
_WINDOW = timedelta(hours=24)

router = APIRouter(tags=["batches"], route_class=GuardedRoute)


@router.post(
    "/v1/batches",
    name="create",
    summary="Create a batch",
    response_model=Batch,
    responses=errors(404, 413, 415),
    dependencies=_INFER,
)
async def create_batch(
    body: CreateBatch, services: ServicesDep, store_access: StoreAccessDep, caller: CallerDep
) -> Response:
    """Create a batch from an uploaded file. The batch checks the file, then asks its lines beside live requests.

    Each line has the rights and quotas that the key has when the line is asked.
    """
    if services.batches is None:
        raise NotReady("this server runs no batches")
    batch = NewBatch(
        store_access.fingerprint,
        caller.actor,
        body.endpoint,
        FILE_ID.number(body.input_file_id),
        body.completion_window,
        datetime.now(UTC) + _WINDOW,
        body.metadata or {},
    )
    max_unfinished = store_access.limits.max_batches
    record = await store_access.write_batches(
        BatchStore.create, batch, max_unfinished=max_unfinished, access=file_access(caller)
    )
    _nudge(services)
    return json_response(batch_body(record))


@router.get(
    "/v1/batches",
    name="list",
    summary="List batches",
    response_model=BatchList,
    responses=errors(404),
    dependencies=_INFER,
)
async def list_batches(
    store_access: StoreAccessDep,
    caller: CallerDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    after: Annotated[str | None, empty_is(None), Query(description="Start after the batch of this id.")] = None,
) -> Response:
    """List the key's batches, newest first."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read_batches(
        BatchStore.page,
        store_access.fingerprint,
        owner=_owner(caller),
        before=BATCH_ID.cursor(after),
        limit=size + 1,
    )
    return page_response(BatchList, found, size, batch_body)


@router.get(
    "/v1/batches/{batch_id}",
    name="get",
    summary="Get a batch",
    response_model=Batch,
    responses=errors(404),
    dependencies=_INFER,
)
async def get_batch(batch_id: str, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Return one batch. Its files are at `/v1/files/{file_id}/content`."""
    number = BATCH_ID.number(batch_id)
    record = await store_access.read_batches(BatchStore.get, store_access.fingerprint, number, owner=_owner(caller))
    return json_response(batch_body(record))


@router.post(
    "/v1/batches/{batch_id}/cancel",
    name="cancel",
    summary="Cancel a batch",
    response_model=Batch,
    responses=errors(404, 409),
    dependencies=_INFER,
)
async def cancel_batch(
    batch_id: str, services: ServicesDep, store_access: StoreAccessDep, caller: CallerDep
) -> Response:
    """Cancel a batch that has not ended. Its files have the answers until then, and the lines that were never asked."""
    number = BATCH_ID.number(batch_id)
    record = await store_access.write_batches(BatchStore.cancel, store_access.fingerprint, number, owner=_owner(caller))
    _nudge(services)
    return json_response(batch_body(record))


def _owner(caller: Caller) -> str | None:
    """Whose batches a caller sees; None is everyone's."""
    return None if caller.is_admin else caller.actor


def _nudge(services: Services) -> None:
    if services.batches is not None:
        services.batches.nudge()
