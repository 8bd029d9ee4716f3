"""Authorisation. Every route declares the scope it needs; an application with an undeclared route is not built.

The scope belongs to the route itself, never to the request's path, which proxies and routers read differently.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from fastapi import Depends, Request, Response, routing
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.routing import BaseRoute

from server.api.access.access import AccessDep, access_of
from server.api.access.undeclared import Declared
from server.api.errors import ApiError


class Scope(StrEnum):
    """A right of a key. `ADMIN` includes all others. `PUBLIC` routes need no key, `ANY` routes any valid one.

    `FILES` is no right of its own: a key needs `INFER` for the files of batches, and `TUNE` for all others.
    """

    PUBLIC = "public"
    ANY = "any"
    INFER = "infer"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    TUNE = "tune"
    FILES = "infer or tune"
    ADMIN = "admin"


_ALTERNATIVES = {Scope.FILES: (Scope.INFER, Scope.TUNE)}

_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key of this server.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Doorkeeper:
    """A dependency of a route that also refuses requests before they are routed (`middleware/door.py`)."""

    def check(self, request: Request) -> None:
        """Raise an error of this API for a request that is refused. It has headers only."""


class _Declaration:
    """A dependency of a route that names the scope it needs.

    It also runs before the route, because FastAPI reads the body before any dependency.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def admit(self, request: Request) -> None:
        """Admit a request before its body is read, or raise."""


class _Public(_Declaration):
    async def __call__(self) -> None:
        """Admit everyone."""


class _ScopeRequired(_Declaration):
    async def admit(self, request: Request) -> None:
        """Identify the caller, who is then available as `CallerDep`.

        Raises `Unauthorized` without a valid key. Raises `Forbidden` if the key lacks the scope or is not allowed the
        `task` in the path, and for pages of other machines on a server without keys.
        """
        access, credentials = await access_of(request), await _bearer(request)
        caller = access.identify(request, None if credentials is None else credentials.credentials)
        if self.scope is not Scope.ANY:
            caller.check_scope(*_ALTERNATIVES.get(self.scope, (self.scope,)))
        task = request.path_params.get("task")
        if task is not None:
            caller.check_task(task)
        request.state.caller = caller

    async def __call__(self, request: Request, access: AccessDep, _: _Credentials) -> AsyncIterator[None]:
        """Count the request while it runs. Raises `RateLimited`."""
        async with access.quotas.request(request.state.caller):
            yield


class GuardedRoute(APIRoute):
    """A route that checks its scope first, then refuses undeclared parameters."""

    takes_anything: ClassVar[bool] = False

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with the checks in front of it."""
        handle = super().get_route_handler()
        declaration = _declaration_of(self.dependant)
        declared = None if self.takes_anything else Declared.of(self.dependant)

        async def guarded(request: Request) -> Response:
            if declaration is not None:  # an application with a route that declares none is not built
                await declaration.admit(request)
            if declared is not None:
                declared.check(request)
            return await handle(request)

        return guarded


class ProbedRoute(GuardedRoute):
    """A route for monitors and browsers. It ignores unknown parameters, which these append to bypass caches."""

    takes_anything = True


def requires(scope: Scope) -> Any:
    """Declare the scope that a route needs: an entry of its `dependencies`."""
    return Depends(_Public(scope) if scope is Scope.PUBLIC else _ScopeRequired(scope))


def declared_scopes(routes: Sequence[BaseRoute]) -> dict[str, Scope | None]:
    """The scope of each route by "METHOD path". None for a route that declares none, or does not check it first."""
    scopes: dict[str, Scope | None] = {}
    for route in _flat(routes):
        is_guarded = isinstance(getattr(route, "original_route", route), GuardedRoute)
        declaration = _declaration_of(route.dependant) if is_guarded else None
        for method in route.methods or {"ANY"}:
            scopes[f"{method} {route.path}"] = None if declaration is None else declaration.scope
    return scopes


@dataclass(frozen=True, slots=True)
class Door:
    """The checks of a route that run before it is routed."""

    route: BaseRoute
    keepers: tuple[Doorkeeper, ...]
    declaration: _Declaration

    async def check(self, request: Request) -> ApiError | None:
        """The error that refuses the request. None to go on, also for a caller whom the scope check will refuse."""
        try:
            for keeper in self.keepers:
                keeper.check(request)
        except ApiError as refusal:
            try:
                await self.declaration.admit(request)
            except ApiError:
                return None
            return refusal
        return None


def doors_of(routes: Sequence[BaseRoute]) -> dict[tuple[str, str], Door]:
    """The doors of the routes that have a `Doorkeeper`, by method and path. Such paths have no parameters."""
    doors: dict[tuple[str, str], Door] = {}
    for route in _flat(routes):
        original = getattr(route, "original_route", route)
        if not isinstance(original, GuardedRoute) or (declaration := _declaration_of(original.dependant)) is None:
            continue
        calls: list[object] = [dependency.call for dependency in original.dependant.dependencies]
        keepers = tuple(call for call in calls if isinstance(call, Doorkeeper))
        if keepers:
            doors |= {(method, route.path): Door(original, keepers, declaration) for method in route.methods or ()}
    return doors


def _flat(routes: Sequence[BaseRoute]) -> Iterable[Any]:
    """The routes, those of included routers too. The lists of FastAPI before 0.137, which vLLM pins, have no other."""
    flatten: Callable[[Sequence[BaseRoute]], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
    return flatten(routes)


def _declaration_of(dependant: Dependant) -> _Declaration | None:
    calls: list[object] = [dependency.call for dependency in dependant.dependencies]
    return next((call for call in calls if isinstance(call, _Declaration)), None)
