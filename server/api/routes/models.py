"""`GET /v1/models`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Response

from prompts_store.records import TaskRecord
from prompts_store.store import Store
from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.inference.inference import InferenceDep
from server.api.inference.request_context import StickyKeyDep
from server.api.inference.served_model import ServedModel
from server.api.management.store_access import StoreAccessDep
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
    summary="List models",
    response_model=ModelList,
    responses=errors(),
    dependencies=[requires(Scope.INFER)],
)
async def list_models(services: ServicesDep, store_access: StoreAccessDep, caller: CallerDep) -> Response:
    """List the base model and every task with a version in production, as far as the key allows them."""
    only = None if caller.tasks is None else sorted(caller.tasks)
    max_models = store_access.limits.max_listed_models
    tasks = await store_access.read(_served_tasks, store_access.fingerprint, only, max_models)
    bodies = _bodies_of(services)
    models = [bodies.task(task.name, task.created_at) for task in tasks]
    if caller.tasks is None:
        models.insert(0, bodies.base())
    return json_response(ModelList(object="list", data=models))


@router.get(
    "/v1/models/{model_id:path}",
    name="get",
    summary="Get a model",
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
        return json_response(_bodies_of(services).base())
    model = _bodies_of(services).task(model_id, served.record.created_at)
    model.endpoints = list(inference.base_facts.endpoints_of(served))
    if served.task_type is not None:
        model.task_type = served.task_type
    return json_response(model, headers=served.headers)


@dataclass(frozen=True, slots=True)
class _ModelBodies:
    """The base model and its tasks on the wire. `started_at` is Unix time in seconds."""

    base_id: str
    started_at: int
    max_context: int
    base_endpoints: tuple[str, ...]

    def base(self) -> Model:
        body = self._body(self.base_id, self.started_at, parent=None)
        body.endpoints = list(self.base_endpoints)
        return body

    def task(self, model_id: str, created_at: datetime) -> Model:
        return self._body(model_id, int(created_at.timestamp()), parent=self.base_id)

    def _body(self, model_id: str, created: int, *, parent: str | None) -> Model:
        return Model(
            id=model_id,
            object="model",
            created=created,
            owned_by=_OWNER,
            parent=parent,
            max_model_len=self.max_context,
        )


def _bodies_of(services: Services) -> _ModelBodies:
    inference = services.inference
    endpoints = inference.base_facts.endpoints_of(ServedModel())
    return _ModelBodies(services.base_id, services.started_at, inference.engine.max_context, endpoints)


def _served_tasks(store: Store, fingerprint: str, only: Sequence[str] | None, max_tasks: int) -> list[TaskRecord]:
    """The tasks with a version in production, up to the limit. `only` restricts them to these names."""
    served: list[TaskRecord] = []
    after: str | None = None
    while len(served) < max_tasks:
        page = store.list_tasks(fingerprint, after=after, limit=_PAGE_SIZE, only=only)
        served += [task for task in page if task.production_version is not None]
        if len(page) < _PAGE_SIZE:
            break
        after = page[-1].name
    return served
