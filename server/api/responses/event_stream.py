"""Server-sent events (WHATWG HTML, section 9.2), as OpenAI uses them: `data:` lines only, the last one `[DONE]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.api.responses.error_responses import error_body
from server.api.responses.json_response import json_text

_MAX_CHUNKS_IN_A_ROW = 16


class EventStreamResponse(StreamingResponse):
    """Sends chunks as events, each JSON on one line. A failure after the headers is a last event with the error body.

    `close` is called when the stream ends: complete, failed, or after its client has disconnected.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncIterator[str], *, headers: Mapping[str, str], close: Callable[[], None]) -> None:
        super().__init__(
            self._events(chunks), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers}
        )
        self._close = close
        self._request_id = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        self._request_id = scope["state"]["request_id"]
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()

    async def _events(self, chunks: AsyncIterator[str]) -> AsyncIterator[bytes]:
        number = 0
        try:
            async for chunk in chunks:
                yield _event(chunk)
                number += 1
                if number % _MAX_CHUNKS_IN_A_ROW == 0:
                    # Yield to the event loop, so that a disconnect can end this task even if chunks come fast.
                    await asyncio.sleep(0)
        except Exception as error:  # the status line is sent: only this event can still report it
            yield _event(json_text(error_body(error, self._request_id)))
        else:
            yield _event("[DONE]")


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
