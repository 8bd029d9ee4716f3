"""`/v1/tasks` and `/v1/tasks/{task}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from prompts_store.names import check_not_reserved
from prompts_store.store import Store
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.management.paging import DEFAULT_PAGE_SIZE, PageSize, page_response, page_size
from server.api.management.store_access import WRITABLE_TASK, StoreAccessDep
from server.api.management.task_bodies import purged_body, task_body
from server.api.responses.documented import errors, purged
from server.api.responses.json_response import json_response
from server.api.wire.tasks import CreateTask, Task, TaskList
from server.jobs.purge import purge_task

router = APIRouter(tags=["tasks"], route_class=GuardedRoute)


@router.get(
    "/v1/tasks",
    name="list",
    summary="List tasks",
    response_model=TaskList,
    responses=errors(),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def list_tasks(
    store_access: StoreAccessDep,
    caller: CallerDep,
    limit: PageSize = DEFAULT_PAGE_SIZE,
    after: Annotated[str | None, Query(description="Start after this name.")] = None,
) -> Response:
    """List the tasks of this base model that the key allows, by name."""
    size = page_size(limit, store_access.limits)
    only = None if caller.tasks is None else sorted(caller.tasks)
    found = await store_access.read(Store.list_tasks, store_access.fingerprint, after=after, limit=size + 1, only=only)
    return page_response(
        TaskList, found, size, lambda task: task_body(task, is_read_only=store_access.is_read_only(task.name))
    )


@router.post(
    "/v1/tasks",
    name="create",
    summary="Create a task",
    response_model=Task,
    status_code=201,
    responses=errors(409, 413, 415),
    dependencies=[requires(Scope.TASKS_WRITE)],
)
async def create_task(body: CreateTask, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """Create a task without versions. Publishing a version creates its task too."""
    caller.check_task(body.name)
    check_not_reserved(body.name, store_access.base_names)
    store_access.check_writable(body.name)
    task = await store_access.write(
        Store.create_task, store_access.fingerprint, body.name, body.description, actor=caller.actor
    )
    return json_response(task_body(task), status=201, headers={"Location": f"/v1/tasks/{task.name}"})


@router.get(
    "/v1/tasks/{task}",
    name="get",
    summary="Get a task",
    response_model=Task,
    responses=errors(404),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def get_task(task: str, store_access: StoreAccessDep) -> Response:
    """Return one task."""
    found = await store_access.read(Store.get_task, store_access.fingerprint, task)
    return json_response(task_body(found, is_read_only=store_access.is_read_only(task)))


@router.delete(
    "/v1/tasks/{task}",
    name="delete",
    summary="Delete a task",
    status_code=204,
    responses=purged() | errors(404, 409),
    dependencies=[requires(Scope.TASKS_WRITE), WRITABLE_TASK],
)
async def delete_task(
    task: str,
    store_access: StoreAccessDep,
    caller: CallerDep,
    purge: Annotated[bool, Query(description="Remove everything that the task ever held, for good.")] = False,
) -> Response:
    """Delete a task with its versions and aliases. Its running requests finish. Its tuning jobs fail and can be resumed
    by hand. A purge removes the jobs too, and returns counts of what it removed."""
    if purge:
        report = await store_access.write(
            purge_task, store_access.kept_runs, store_access.fingerprint, task, actor=caller.actor
        )
        return json_response(purged_body(report))
    await store_access.write(Store.delete_task, store_access.fingerprint, task, actor=caller.actor)
    return Response(status_code=204)
