"""`GET /v1/models`."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Response

from prompts_store.records import TaskRecord
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.inference.inference import InferenceDep
from server.api.inference.request_context import StickyKeyDep
from server.api.responses.documented import answered_by_task, errors
from server.api.responses.json_response import json_response
from server.api.services import Services, ServicesDep
from server.api.wire.models import Model, ModelList

_OWNER = "softprompt-server"
_PAGE_SIZE = 1_000

router = APIRouter(tags=["models"], route_class=GuardedRoute)


@router.get(
    "/v1/models",
    name="list",
    response_model=ModelList,
    responses=errors(),
    dependencies=[requires(Scope.INFER)],
)
async def list_models(services: ServicesDep, caller: CallerDep) -> Response:
    """List the base model and every task with a version in production, as far as the key allows them."""
    only = None if caller.tasks is None else sorted(caller.tasks)
    tasks = await services.threads.reads.run(_served_tasks, services, only)
    models = [_model(services, task.name, int(task.created_at.timestamp()), is_task=True) for task in tasks]
    if caller.tasks is None:
        models.insert(0, _base_model(services))
    return json_response(ModelList(object="list", data=models))


@router.get(
    "/v1/models/{model_id:path}",
    name="get",
    response_model=Model,
    responses=answered_by_task() | errors(404),
    dependencies=[requires(Scope.INFER)],
)
async def get_model(
    model_id: str, services: ServicesDep, inference: InferenceDep, caller: CallerDep, sticky_key: StickyKeyDep
) -> Response:
    """Return one model by its id: a name of the base model, slashes included, or a task reference."""
    served = await inference.resolve(caller, model_id, sticky_key)
    if served.record is None:
        return json_response(_base_model(services))
    created = int(served.record.created_at.timestamp())
    return json_response(_model(services, model_id, created, is_task=True), headers=served.headers)


def _served_tasks(services: Services, only: Sequence[str] | None) -> list[TaskRecord]:
    """The tasks with a version in production, up to the limit. `only` restricts them to these names."""
    served: list[TaskRecord] = []
    after: str | None = None
    while len(served) < services.settings.limits.max_listed_models:
        page = services.store.list_tasks(services.base.fingerprint, after=after, limit=_PAGE_SIZE, only=only)
        served += [task for task in page if task.production_version is not None]
        if len(page) < _PAGE_SIZE:
            break
        after = page[-1].name
    return served


def _base_model(services: Services) -> Model:
    return _model(services, services.base_id, services.started_at, is_task=False)


def _model(services: Services, model_id: str, created: int, *, is_task: bool) -> Model:
    return Model(
        id=model_id,
        object="model",
        created=created,
        owned_by=_OWNER,
        parent=services.base_id if is_task else None,
        max_model_len=services.engine.max_context,
    )
