"""`/docs` and `/docs/{path}`: the OpenAPI document as a page. Its files hold no secret, so they need no key.

FastAPI answers in a thread: the first request for a file compresses it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.access.authentication import ProbedRoute, Scope, requires
from server.api.responses.web_file import web_file_response
from server.web.files import API_PAGE, INDEX, read_files

router = APIRouter(tags=["operations"], route_class=ProbedRoute)


@router.get("/docs", include_in_schema=False, dependencies=[requires(Scope.PUBLIC)])
def docs(request: Request) -> Response:
    """The page."""
    return web_file_response(request, read_files(API_PAGE)[INDEX])


@router.get("/docs/{path:path}", include_in_schema=False, dependencies=[requires(Scope.PUBLIC)])
def docs_file(path: str, request: Request) -> Response:
    """A file that the page loads."""
    return web_file_response(request, read_files(API_PAGE).get(path))
