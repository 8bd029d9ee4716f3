"""The OpenAPI document of the routes as they are now, built once in a process."""

from functools import cache
from typing import Any

from server.api.application import build_routes
from server.api.openapi import build_document


@cache
def document() -> dict[str, Any]:
    """Not to be changed: every test has the same one."""
    return build_document(build_routes())
