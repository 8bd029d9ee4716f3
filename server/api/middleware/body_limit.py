"""Limits on a body's size and speed. A body beyond its route's limit is refused while it streams in."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.errors import InvalidRequest
from server.api.limits import ApiLimits
from server.api.responses.error_responses import error_response

MIN_BYTES_PER_S = 1024
"""Minimum speed of a body. A faster body has no deadline, but must not stall."""


class BodyLimitMiddleware:
    """Counts the bytes of each request's body, up to `ApiLimits.max_body_bytes` unless its route says otherwise.

    Reading raises starlette's `HTTPException`, 413 or 408, which FastAPI passes on while it parses a body.
    """

    def __init__(self, app: ASGIApp, limits: ApiLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            return await _refuse_two_lengths(scope, receive, send)
        state = scope.setdefault("state", {})
        state["max_body_bytes"], state["max_body_option"] = self._limits.max_body_bytes, "--max-body-bytes"
        declared_bytes = int(headers.get("content-length", "0"))
        num_bytes, is_complete = 0, False
        began = asyncio.get_running_loop().time()

        async def receive_limited() -> Message:
            nonlocal num_bytes, is_complete
            if is_complete:
                return await receive()
            if declared_bytes > state["max_body_bytes"]:
                raise HTTPException(413)
            message = await self._receive_in_time(receive, began + num_bytes / MIN_BYTES_PER_S)
            num_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if num_bytes > state["max_body_bytes"]:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_limited, send)

    async def _receive_in_time(self, receive: Receive, due: float) -> Message:
        """Return the next piece. A body must neither stall nor arrive slower than `MIN_BYTES_PER_S`."""
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(now, due) + self._limits.body_timeout_s):
                return await receive()
        except TimeoutError as error:
            raise HTTPException(408) from error


async def _refuse_two_lengths(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse both lengths: a proxy may use the other one, and read the body's end as a request (RFC 9112, 6.1)."""
    response = error_response(
        scope, InvalidRequest("the headers content-length and transfer-encoding exclude each other")
    )
    response.headers["connection"] = "close"
    await response(scope, receive, send)


def allow_body(request: Request, max_bytes: int, option: str) -> None:
    """Set another limit for a body that has not been read yet. `option` is the server's option that raises it."""
    request.state.max_body_bytes, request.state.max_body_option = max_bytes, option
