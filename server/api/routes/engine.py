"""`GET /v1/engine`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from server.api.access.authentication import GuardedRoute, Scope, requires
from server.api.access.caller import CallerDep
from server.api.engine_state import EngineStatesDep
from server.api.responses.documented import errors
from server.api.wire.engine import EngineState

router = APIRouter(tags=["engine"], route_class=GuardedRoute)


@router.get(
    "/v1/engine",
    name="get",
    summary="Get the engine's state",
    response_model=EngineState,
    responses=errors(),
    dependencies=[requires(Scope.TASKS_READ)],
)
async def get_engine(states: EngineStatesDep, caller: CallerDep) -> Response:
    """Return a snapshot of the engine for a live view: counters, batch and queue by task, latencies, and the holders of
    KV blocks. A key that is restricted to tasks sees the names of these; all others are summed up. Polling is cheap:
    callers share one snapshot for 250 ms."""
    return Response(states.body_for(caller.tasks), media_type="application/json")
