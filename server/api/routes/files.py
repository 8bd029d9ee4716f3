"""`/v1/files`: the files of tuning jobs, which all keys that tune share, and of batches, which belong to their key."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from prompts_store.tuning_store import TuningStore
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.management.file_upload import FILE_REQUEST, UploadedFileDep, file_access
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, empty_is, page_response, page_size
from server.api.management.store_access import StoreAccessDep
from server.api.management.tuning_bodies import FILE_ID, file_body
from server.api.responses.documented import binary_file, errors
from server.api.responses.json_response import json_response
from server.api.wire.files import FileDeleted, FileList, FileObject

router = APIRouter(tags=["files"], route_class=GuardedRoute)


@router.post(
    "/v1/files",
    name="create",
    summary="Upload a file",
    response_model=FileObject,
    responses=errors(413, 415, 507),
    openapi_extra=FILE_REQUEST,
    dependencies=[requires(Scope.FILES)],
)
async def create_file(upload: UploadedFileDep) -> Response:
    """Upload a file of examples or of requests. The job or batch that uses the file checks its content.

    A file of a batch belongs to the key that made it.
    """
    return json_response(file_body(upload.record))


@router.get(
    "/v1/files",
    name="list",
    summary="List files",
    response_model=FileList,
    responses=errors(404),
    dependencies=[requires(Scope.FILES)],
)
async def list_files(
    store_access: StoreAccessDep,
    caller: CallerDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    after: Annotated[str | None, empty_is(None), Query(description="Start after the file of this id.")] = None,
    order: Annotated[
        Literal["asc", "desc"], empty_is("desc"), Query(description="Order by time of creation.")
    ] = "desc",
    purpose: Annotated[
        Annotated[str, StringConstraints(pattern="^[a-z_-]{1,64}$")] | None,
        empty_is(None),
        Query(description="Only files of this purpose."),
    ] = None,
) -> Response:
    """List files by time of creation: those that the key may see."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read_tuning(
        TuningStore.list_files,
        after=FILE_ID.cursor(after),
        limit=size + 1,
        purpose=purpose,
        newest_first=order == "desc",
        access=file_access(caller),
    )
    return page_response(FileList, found, size, file_body)


@router.get(
    "/v1/files/{file_id}",
    name="get",
    summary="Get a file",
    response_model=FileObject,
    responses=errors(404),
    dependencies=[requires(Scope.FILES)],
)
async def get_file(file_id: str, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Return one file's record, without its content."""
    number, access = FILE_ID.number(file_id), file_access(caller)
    return json_response(file_body(await store_access.read_tuning(TuningStore.get_file, number, access)))


@router.get(
    "/v1/files/{file_id}/content",
    name="content",
    summary="Download a file",
    response_class=Response,
    responses=binary_file() | errors(404),
    dependencies=[requires(Scope.FILES)],
)
async def get_file_content(file_id: str, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Download a file's content."""
    number, access = FILE_ID.number(file_id), file_access(caller)
    content = await store_access.read_tuning(TuningStore.load_file, number, access)
    return Response(content, media_type="application/octet-stream")


@router.delete(
    "/v1/files/{file_id}",
    name="delete",
    summary="Delete a file",
    response_model=FileDeleted,
    responses=errors(404, 409),
    dependencies=[requires(Scope.FILES)],
)
async def delete_file(file_id: str, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Delete a file. The answer is 409 while an unfinished job or batch needs it."""
    await store_access.write_tuning(TuningStore.delete_file, FILE_ID.number(file_id), file_access(caller))
    return json_response(FileDeleted(id=file_id, object="file", deleted=True))
