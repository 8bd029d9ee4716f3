"""`/v1/tasks/{task}/versions`: publish, list, read, download and retire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from prompts_store.checkpoint.reader import read_checkpoint
from prompts_store.checkpoint.writer import write_config, write_tensors
from prompts_store.checkpoint_records import LeftOut
from prompts_store.manifest import Manifest, parse_manifest
from prompts_store.names import MAX_VERSION, check_not_reserved, check_task_name
from prompts_store.records import Published
from prompts_store.store import Store
from prompts_store.tuning_store import TuningStore
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.inference.inference import InferenceDep
from server.api.inference.structured import check_kept_form
from server.api.management.checkpoint_upload import UPLOAD_REQUEST, CheckpointUpload, EnsembleUpload, UploadDep
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, page_response, page_size
from server.api.management.store_access import WRITABLE_TASK, StoreAccess, StoreAccessDep
from server.api.management.task_bodies import published_body, version_body
from server.api.responses.documented import binary_file, errors, json_file, png_file, published_already
from server.api.responses.json_response import json_response
from server.api.wire.tasks import PublishedVersion, Version, VersionList

VersionNumber = Annotated[int, Path(ge=1, le=MAX_VERSION)]

router = APIRouter(tags=["versions"], route_class=GuardedRoute)


@router.post(
    "/v1/tasks/{task}/versions",
    name="publish",
    summary="Publish a version",
    response_model=PublishedVersion,
    status_code=201,
    responses=published_already() | errors(404, 409, 413, 415),
    openapi_extra=UPLOAD_REQUEST,
    dependencies=[requires(Scope.TASKS_WRITE), WRITABLE_TASK],
)
async def publish_version(
    task: str, upload: UploadDep, store_access: StoreAccessDep, inference: InferenceDep, caller: CallerDep
) -> Response:
    """Publish a PEFT checkpoint as a new version. The task is created if it does not exist.

    With `members` instead of files, the new version is an ensemble of versions of this task. An embedding layer
    that PEFT saved along is left out, and named in the answer. It is refused if it differs from the base model's.
    """
    check_task_name(task)
    check_not_reserved(task, store_access.base_names)
    manifest = parse_manifest(upload.manifest)
    await check_kept_form(manifest.defaults, inference.constraints, "manifest.defaults")
    published, left_out = await store_access.write(_publish, store_access, task, upload, manifest, caller.actor)
    number = published.version.version
    return json_response(
        published_body(published, left_out),
        status=201 if published.created else 200,
        headers={"Location": f"/v1/tasks/{task}/versions/{number}"},
    )


@router.get(
    "/v1/tasks/{task}/versions",
    name="list",
    summary="List the versions of a task",
    response_model=VersionList,
    responses=errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def list_versions(
    task: str,
    store_access: StoreAccessDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    before: Annotated[int | None, Query(ge=1, le=MAX_VERSION, description="Start below this number.")] = None,
) -> Response:
    """List the versions of a task that are not retired, newest first."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read(Store.list_versions, store_access.fingerprint, task, before=before, limit=size + 1)
    return page_response(VersionList, found, size, version_body)


@router.get(
    "/v1/tasks/{task}/versions/{version}",
    name="get",
    summary="Get a version",
    response_model=Version,
    responses=errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def get_version(task: str, version: VersionNumber, store_access: StoreAccessDep) -> Response:
    """Return one version that is not retired."""
    return json_response(
        version_body(await store_access.read(Store.get_version, store_access.fingerprint, task, version))
    )


@router.delete(
    "/v1/tasks/{task}/versions/{version}",
    name="retire",
    summary="Retire a version",
    response_model=Version,
    responses=errors(404, 409),
    dependencies=[requires(Scope.TASKS_WRITE), WRITABLE_TASK],
)
async def retire_version(
    task: str, version: VersionNumber, store_access: StoreAccessDep, caller: CallerDep
) -> Response:
    """Retire a version. The answer is 409 while an alias or an ensemble names it. Its running requests finish. Its
    number is never reused."""
    retired = await store_access.write(
        Store.retire_version, store_access.fingerprint, task, version, actor=caller.actor
    )
    return json_response(version_body(retired))


@router.get(
    "/v1/tasks/{task}/versions/{version}/adapter_config.json",
    name="download_config",
    summary="Download the configuration of a version",
    response_class=Response,
    responses=json_file() | errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def download_config(task: str, version: VersionNumber, store_access: StoreAccessDep) -> Response:
    """Download the version's `adapter_config.json`, which PEFT can load."""
    content = await store_access.read(Store.load_content, store_access.fingerprint, task, version)
    return Response(write_config(content), media_type="application/json")


@router.get(
    "/v1/tasks/{task}/versions/{version}/adapter_model.safetensors",
    name="download_tensors",
    summary="Download the tensors of a version",
    response_class=Response,
    responses=binary_file() | errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def download_tensors(task: str, version: VersionNumber, store_access: StoreAccessDep) -> Response:
    """Download the version's `adapter_model.safetensors`: every tensor as it was uploaded, byte for byte."""
    content = await store_access.read(Store.load_content, store_access.fingerprint, task, version)
    tensors = await store_access.reads.run(write_tensors, content.checkpoint)
    return Response(tensors, media_type="application/octet-stream")


@router.get(
    "/v1/tasks/{task}/versions/{version}/plot.png",
    name="download_plot",
    summary="Download the plot of a tuned version",
    response_class=Response,
    responses=png_file() | errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def download_plot(task: str, version: VersionNumber, store_access: StoreAccessDep) -> Response:
    """Download the plot of the tuning job that made the version: loss, scores and the path of its virtual tokens."""
    plot = await store_access.read_tuning(TuningStore.load_plot, store_access.fingerprint, task, version)
    return Response(plot, media_type="image/png")


def _publish(
    store: Store,
    store_access: StoreAccess,
    task: str,
    upload: CheckpointUpload | EnsembleUpload,
    manifest: Manifest,
    actor: str,
) -> tuple[Published, Sequence[LeftOut]]:
    """Check an upload and publish it, off the event loop. Return also what was left out of its file."""
    if isinstance(upload, EnsembleUpload):
        published = store.publish_ensemble(
            store_access.fingerprint, task, upload.members, manifest, promote=upload.promote, actor=actor
        )
        return published, ()
    checkpoint = read_checkpoint(
        upload.config,
        upload.tensors,
        store_access.base,
        task_index=manifest.task_index,
        allow_base_mismatch=upload.allow_base_mismatch,
        max_tensor_bytes=store.max_tensor_bytes,
        base_embeddings=store_access.base_embeddings,
    )
    published = store.publish(
        task, checkpoint, manifest, promote=upload.promote, description=upload.description, actor=actor
    )
    return published, checkpoint.left_out
