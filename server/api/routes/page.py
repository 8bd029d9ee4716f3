"""`/` and `/web/{path}`: the page for people. Its files hold no secret, so they need no key.

FastAPI answers in a thread: the first request for a file compresses it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import ProbedRoute, Scope, requires
from server.api.responses.web_file import web_file_response
from server.api.services import ServicesDep
from server.web.files import INDEX

router = APIRouter(tags=["page"], route_class=ProbedRoute)


@router.get("/", include_in_schema=False, dependencies=[requires(Scope.PUBLIC)])
def index(request: Request, services: ServicesDep) -> Response:
    """The page."""
    return web_file_response(request, services.page.get(INDEX))


@router.get("/web/{path:path}", include_in_schema=False, dependencies=[requires(Scope.PUBLIC)])
def file(path: str, request: Request, services: ServicesDep) -> Response:
    """A file that the page loads."""
    return web_file_response(request, services.page.get(path))
