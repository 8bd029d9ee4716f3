"""`/health`, `/ready`, `/metrics`, `/version` and `/openapi.json`."""

from __future__ import annotations

import json
from functools import cache

from fastapi import APIRouter, FastAPI, Request, Response

from server import __version__
from server.api.access.authentication import ProbedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.errors import NotReady, ServerDraining
from server.api.responses.documented import errors, text
from server.api.responses.json_response import json_response
from server.api.services import Services, ServicesDep
from server.api.wire.operations import BaseModelVersion, Health, Readiness, ServerVersion
from server.telemetry.metrics import CONTENT_TYPE
from server.telemetry.state_metrics import BatchStats, ServerState, TuningStats

router = APIRouter(tags=["operations"], route_class=ProbedRoute)


@router.get(
    "/health",
    name="health",
    summary="Check whether the engine runs",
    response_model=Health,
    responses=errors(),
    dependencies=[requires(Scope.PUBLIC)],
)
async def health(services: ServicesDep) -> Response:
    """Report whether the engine runs. If it does not, restart the process."""
    if not services.inference.engine.is_alive:
        raise NotReady("the engine is not running")
    return json_response(Health(status="ok"))


@router.get(
    "/ready",
    name="ready",
    summary="Check whether the server accepts requests",
    response_model=Readiness,
    responses=errors(),
    dependencies=[requires(Scope.PUBLIC)],
)
async def ready(services: ServicesDep) -> Response:
    """Report whether the server accepts requests."""
    if services.drain.is_draining:
        raise ServerDraining("the server is stopping; send requests to another one")
    if not services.inference.engine.is_alive:
        raise NotReady("the engine is not running")
    follower = services.store_access.follower
    if not follower.is_following or (age_s := follower.state_age_s) is None:
        raise NotReady("the server does not follow the store's changes; it retries")
    body = Readiness(
        status="ready",
        store="reachable" if follower.store_is_reachable else "unreachable",
        store_age_s=round(age_s, 3),
    )
    return json_response(body)


@router.get(
    "/metrics",
    name="metrics",
    summary="Get the metrics",
    response_class=Response,
    responses=text("The metrics in Prometheus's text format") | errors(),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def metrics(services: ServicesDep, caller: CallerDep) -> Response:
    """Return metrics for Prometheus. Task names are among the labels, so a key that is restricted to tasks gets 403."""
    caller.check_all_tasks()
    content = await services.observation.run(services.metrics.render, _server_state(services))
    return Response(content, media_type=CONTENT_TYPE)


@router.get(
    "/version",
    name="version",
    summary="Get the release and the base model",
    response_model=ServerVersion,
    responses=errors(),
    dependencies=[requires(Scope.INFER)],
)
async def version(services: ServicesDep) -> Response:
    """Return the release and the base model."""
    fingerprint = services.store_access.fingerprint
    base = BaseModelVersion(id=services.base_id, fingerprint=fingerprint, weights=services.weights)
    return json_response(ServerVersion(version=__version__, base_model=base))


@router.get("/openapi.json", include_in_schema=False, dependencies=[requires(Scope.PUBLIC)])
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return Response(_document_text(request.app), media_type="application/json")


def _server_state(services: Services) -> ServerState:
    """The server's state now."""
    engine, follower, drain = services.inference.engine, services.store_access.follower, services.drain
    is_following = follower.is_following and follower.state_age_s is not None
    return ServerState(
        version=__version__,
        base_id=services.base_id,
        engine=engine.stats,
        engine_is_alive=engine.is_alive,
        is_ready=engine.is_alive and is_following and not drain.is_draining,
        is_draining=drain.is_draining,
        num_open_requests=drain.num_open,
        store_is_reachable=follower.store_is_reachable,
        store_age_s=follower.state_age_s,
        shadows=services.inference.shadows.by_task(),
        tuning=TuningStats() if services.jobs is None else services.jobs.stats,
        batches=BatchStats() if services.batches is None else services.batches.stats,
    )


@cache
def _document_text(app: FastAPI) -> str:
    """The document as JSON, cached per application, because the route needs no key."""
    return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":"))
