"""Refusal of requests by their headers alone, before they are routed.

Under overload, most requests are refused, and each refusal takes the interpreter from the engine's thread. A refusal
by a route costs routing, FastAPI's request, and an exception through every layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.access.authentication import Door
from server.api.middleware.drain import path_of
from server.api.responses.error_responses import error_response


class DoorMiddleware:
    """Asks the door of a request's route, if it has one. `doors` are keyed by method and path."""

    def __init__(self, app: ASGIApp, doors: Mapping[tuple[str, str], Door]) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        door = self._doors.get((scope["method"], path_of(scope))) if scope["type"] == "http" else None
        refusal = None if door is None else await door.check(Request(scope))
        if door is None or refusal is None:
            return await self._app(scope, receive, send)
        scope["route"] = door.route  # metrics and traces name it, as if it had answered
        await error_response(scope, refusal)(scope, receive, send)
