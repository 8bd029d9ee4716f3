"""Draining: a stopping server refuses new requests and finishes accepted ones."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.errors import ServerDraining
from server.api.responses.error_responses import error_response

ALWAYS_ANSWERED = frozenset({"/health", "/ready", "/metrics", "/version", "/v1/engine"})

_POLL_S = 0.02


class Drain:
    """Whether the server drains, and the number of open requests. All methods belong to the event loop."""

    def __init__(self) -> None:
        self.is_draining = False
        self.num_open = 0

    def begin(self) -> None:
        """Refuse new requests from now on. Safe to call in a signal handler."""
        self.is_draining = True

    async def finish(self, grace_s: float) -> bool:
        """Begin, and wait for open requests. Return False if some are open after `grace_s` seconds."""
        self.begin()
        try:
            async with asyncio.timeout(grace_s):
                while self.num_open:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return False
        return True


class DrainMiddleware:
    """Counts open requests, and refuses new ones while the server drains. Open requests finish."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http" or path_of(scope) in ALWAYS_ANSWERED:
            return await self._app(scope, receive, send)
        drain = self._drain
        if drain.is_draining:
            refusal = ServerDraining("the server is stopping; send the request to another one")
            response = error_response(scope, refusal)
            response.headers["connection"] = "close"
            return await response(scope, receive, send)
        drain.num_open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            drain.num_open -= 1


def path_of(scope: Scope) -> str:
    """The path without the prefix that a proxy strips, as the routes see it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
