"""Who may call what. Every route declares the scope it needs; an application with one that does not is not built.

Authorisation hangs on the route itself, never on the request's path, which proxies and routers read differently.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.routing import BaseRoute

from server.api.services import ServicesDep


class Scope(StrEnum):
    """What a key may be allowed to do; `ADMIN` has all others. `PUBLIC` routes answer without a key."""

    PUBLIC = "public"
    INFER = "infer"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    TUNE = "tune"
    ADMIN = "admin"


_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key of this server.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class _Declaration:
    """A dependency of a route that names the scope it needs."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


class _Public(_Declaration):
    async def __call__(self) -> None:
        """Admit everyone."""


class _KeyNeeded(_Declaration):
    async def __call__(self, request: Request, services: ServicesDep, credentials: _Credentials) -> AsyncIterator[None]:
        """Let the caller in, as `CallerDep`, for as long as the request runs.

        Raises `Unauthorized` without a key, `Forbidden` where it is not allowed this, and `RateLimited`. A route with a
        `task` in its path is refused here to keys that are held to other tasks.
        """
        caller = services.keys.identify(None if credentials is None else credentials.credentials)
        caller.check_scope(self.scope)
        task = request.path_params.get("task")
        if task is not None:
            caller.check_task(task)
        async with services.quotas.request(caller):
            request.state.caller = caller
            yield


def requires(scope: Scope) -> Any:
    """Declare the scope that a route needs: an entry of its `dependencies`."""
    return Depends(_Public(scope) if scope is Scope.PUBLIC else _KeyNeeded(scope))


def declared_scopes(routes: Sequence[BaseRoute]) -> dict[str, Scope | None]:
    """The scope of each route by "METHOD path"; None where a route declares none."""
    scopes: dict[str, Scope | None] = {}
    for route in iter_route_contexts(routes):
        dependant = getattr(route, "dependant", None)
        declared = (
            [d.call.scope for d in dependant.dependencies if isinstance(d.call, _Declaration)] if dependant else []
        )
        for method in route.methods or {"ANY"}:
            scopes[f"{method} {route.path}"] = declared[0] if declared else None
    return scopes
