"""`/v1/fine_tuning/jobs`: jobs that tune a version from a file of examples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from prompts_store.generation_defaults import parse_defaults
from prompts_store.tuning_records import JobRecord
from prompts_store.tuning_store import TuningStore
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import InvalidRequest, NotReady
from server.api.inference.inference import InferenceDep
from server.api.inference.structured import check_kept_form
from server.api.management.file_upload import file_access
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, empty_is, page_response, page_size
from server.api.management.store_access import StoreAccessDep
from server.api.management.tuning_bodies import (
    CHECKPOINT_ID,
    EVENT_ID,
    JOB_ID,
    checkpoint_body,
    event_body,
    job_body,
    preview_body,
)
from server.api.management.tuning_request import document_file, new_job, previewed_request
from server.api.responses.documented import errors
from server.api.responses.json_response import json_response
from server.api.services import Services, ServicesDep
from server.api.wire.tuning import CreateJob, Job, JobCheckpointList, JobEventList, JobList, JobPreview, PreviewJob
from server.jobs.tuner import Tuner
from server.tuning.errors import ExamplesRefused

_TUNE = [requires(Scope.TUNE)]

After = Annotated[str | None, empty_is(None), Query(description="Start after the item of this id.")]

router = APIRouter(tags=["fine_tuning"], route_class=GuardedRoute)


@router.post(
    "/v1/fine_tuning/jobs",
    name="create",
    summary="Create a tuning job",
    response_model=Job,
    responses=errors(404, 409, 413, 415, 429),
    dependencies=_TUNE,
)
async def create_job(
    body: CreateJob, services: ServicesDep, store_access: StoreAccessDep, inference: InferenceDep, caller: CallerDep
) -> Response:
    """Create a job that tunes a soft prompt. The job checks its files, then waits: one job runs at a time."""
    tokenizer, host, defaults = inference.tokenizer, _tuner(services).host, services.tuning_defaults
    # In the tokenizer's thread: it encodes texts of up to 32,768 characters.
    number = document_file(body)
    document = b""
    if number is not None:  # the job shows it, so the caller must be allowed to see the file
        document = await store_access.read_tuning(TuningStore.load_file, number, file_access(caller))
    job = await tokenizer.run(new_job, body, store_access, tokenizer, host, defaults, document)
    await check_kept_form(parse_defaults(body.defaults), inference.constraints, "defaults")
    record = await store_access.write_tuning(
        TuningStore.create_job, job, max_unfinished=store_access.limits.max_unfinished_jobs, actor=caller.actor
    )
    return _respond(services, record)


@router.post(
    "/v1/fine_tuning/preview",
    name="preview",
    summary="Preview examples",
    response_model=JobPreview,
    responses=errors(404, 413, 415),
    dependencies=_TUNE,
)
async def preview_job(
    body: PreviewJob, services: ServicesDep, store_access: StoreAccessDep, inference: InferenceDep
) -> Response:
    """Return examples as a job with these settings would see them, token by token. No job is created."""
    tokenizer, preparer = inference.tokenizer, _tuner(services).preparer
    request = await tokenizer.run(
        previewed_request,
        body,
        services.base_id,
        store_access,
        tokenizer,
        preparer.host,
        services.tuning_defaults,
    )
    try:
        shown = await tokenizer.run(preparer.show, body.examples, request)
    except ExamplesRefused as error:
        raise InvalidRequest(str(error), param="examples") from error
    max_file_bytes = store_access.limits.max_file_bytes
    return json_response(preview_body(services.base_id, request, shown, preparer.host, max_file_bytes))


@router.get(
    "/v1/fine_tuning/jobs",
    name="list",
    summary="List tuning jobs",
    response_model=JobList,
    responses=errors(404),
    dependencies=_TUNE,
)
async def list_jobs(
    services: ServicesDep, store_access: StoreAccessDep, limit: PageSize = DEFAULT_PAGE_SIZE, after: After = None
) -> Response:
    """List the jobs of this base model, newest first."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read_tuning(
        TuningStore.list_jobs, store_access.fingerprint, before=JOB_ID.cursor(after), limit=size + 1
    )
    return page_response(JobList, found, size, lambda record: job_body(record, services.base_id))


@router.get(
    "/v1/fine_tuning/jobs/{job_id}",
    name="get",
    summary="Get a tuning job",
    response_model=Job,
    responses=errors(404),
    dependencies=_TUNE,
)
async def get_job(job_id: str, services: ServicesDep, store_access: StoreAccessDep) -> Response:
    """Return one job."""
    number = JOB_ID.number(job_id)
    record = await store_access.read_tuning(TuningStore.get_job, store_access.fingerprint, number)
    return json_response(job_body(record, services.base_id))


@router.post(
    "/v1/fine_tuning/jobs/{job_id}/cancel",
    name="cancel",
    summary="Cancel a tuning job",
    response_model=Job,
    responses=errors(404, 409),
    dependencies=_TUNE,
)
async def cancel_job(job_id: str, services: ServicesDep) -> Response:
    """Cancel a job that has not ended. Its training state is discarded."""
    return await _act(services, TuningStore.cancel_job, job_id)


@router.post(
    "/v1/fine_tuning/jobs/{job_id}/pause",
    name="pause",
    summary="Pause a tuning job",
    response_model=Job,
    responses=errors(404, 409),
    dependencies=_TUNE,
)
async def pause_job(job_id: str, services: ServicesDep) -> Response:
    """Pause a queued or running job. Its training state is kept."""
    return await _act(services, TuningStore.pause_job, job_id)


@router.post(
    "/v1/fine_tuning/jobs/{job_id}/resume",
    name="resume",
    summary="Resume a tuning job",
    response_model=Job,
    responses=errors(404, 409, 429),
    dependencies=_TUNE,
)
async def resume_job(job_id: str, services: ServicesDep) -> Response:
    """Queue a paused job again, or a failed job whose training state and files are still there."""
    max_unfinished = services.store_access.limits.max_unfinished_jobs
    return await _act(services, partial(TuningStore.resume_job, max_unfinished=max_unfinished), job_id)


@router.get(
    "/v1/fine_tuning/jobs/{job_id}/events",
    name="events",
    summary="List the events of a tuning job",
    response_model=JobEventList,
    responses=errors(404),
    dependencies=_TUNE,
)
async def list_events(
    job_id: str, store_access: StoreAccessDep, limit: PageSize = DEFAULT_PAGE_SIZE, after: After = None
) -> Response:
    """List a job's events, newest first: steps, validations and warnings."""
    size = page_size(limit, store_access.limits)
    found = await store_access.read_tuning(
        TuningStore.list_events,
        store_access.fingerprint,
        JOB_ID.number(job_id),
        before=EVENT_ID.cursor(after),
        limit=size + 1,
    )
    return page_response(JobEventList, found, size, event_body)


@router.get(
    "/v1/fine_tuning/jobs/{job_id}/checkpoints",
    name="checkpoints",
    summary="List the checkpoints of a tuning job",
    response_model=JobCheckpointList,
    responses=errors(404),
    dependencies=_TUNE,
)
async def list_checkpoints(
    job_id: str, store_access: StoreAccessDep, limit: PageSize = DEFAULT_PAGE_SIZE, after: After = None
) -> Response:
    """List a job's checkpoints, newest first."""
    size = page_size(limit, store_access.limits)
    number, fingerprint = JOB_ID.number(job_id), store_access.fingerprint
    job = await store_access.read_tuning(TuningStore.get_job, fingerprint, number)
    found = await store_access.read_tuning(
        TuningStore.list_checkpoints, fingerprint, number, before=CHECKPOINT_ID.cursor(after), limit=size + 1
    )
    return page_response(JobCheckpointList, found, size, lambda one: checkpoint_body(one, job))


def _tuner(services: Services) -> Tuner:
    """What works on jobs. Raises `NotReady` where nothing does."""
    if services.jobs is None or services.no_tuning is not None:
        raise NotReady(services.no_tuning or services.no_jobs)
    return services.jobs


async def _act(services: Services, act: Callable[[TuningStore, str, int], JobRecord], job_id: str) -> Response:
    store_access = services.store_access
    record = await store_access.write_tuning(act, store_access.fingerprint, JOB_ID.number(job_id))
    return _respond(services, record)


def _respond(services: Services, record: JobRecord) -> Response:
    """Wake the tuner and return the job."""
    if services.jobs is not None:
        services.jobs.nudge()
    return json_response(job_body(record, services.base_id))
