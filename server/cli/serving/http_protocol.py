"""Connections that do not get on are closed: uvicorn itself waits for slow headers and slow readers without end.

Bodies that are read too slowly are refused further up (`server.api.middleware.body_limit`), where they can be answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOK_INTERVAL_S = 1.0
LINGER_S = 2.0
"""How long a client that was answered early may still send the body that nobody reads."""
SEND_BUFFER_BYTES = 64 * 1024
"""What the kernel may hold of an answer. By default it takes megabytes, and shows only then that nobody reads."""
MIN_READ_BYTES_PER_S = 1024
"""A client that has more than a buffer's fill still to read must read at least so much."""

_BAD_REQUEST = {
    "message": "the request is not valid HTTP",
    "type": "invalid_request_error",
    "code": "malformed_request",
}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take, in seconds: to send all headers of a request, and without reading what was sent."""

    header_timeout_s: float
    write_timeout_s: float


class BoundedHeaders(h11.Connection):
    """A server's side of HTTP/1.1. h11 bounds headers that have not come whole: one read may bring larger ones."""

    def __init__(self, max_header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=max_header_bytes)
        self._max_header_bytes = max_header_bytes

    def next_event(self) -> Any:
        """See h11. Raises RemoteProtocolError for a request whose line and headers are too large too."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
            if size > self._max_header_bytes:
                raise h11.RemoteProtocolError("the headers are too large")
        return event


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, looked after once a second. Belongs to the event loop."""

    def __init__(self, *arguments: Any, deadlines: Deadlines, max_header_bytes: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = BoundedHeaders(max_header_bytes)
        self._deadlines = deadlines
        self._headers = _Stopwatch()
        self._unread_body = _Stopwatch()
        self._closing = _Stopwatch()
        self._backlog = _Stopwatch()
        self._backlog_bytes = 0
        self._next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to look."""
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1)  # nothing is written behind a backlog, which so shrinks as it is read
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """A client has read most of a full buffer: it gets on."""
        self._backlog.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with the error body that everything else has, unless another answer has begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return self.transport.close()
        body = json.dumps({"error": _BAD_REQUEST}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _look(self) -> None:
        now = self.loop.time()
        if (
            self._headers.run(self._waits_for_headers, now) > self._deadlines.header_timeout_s
            or self._unread_body.run(self._waits_for_nothing, now) > LINGER_S
            or self._does_not_read(now)
        ):
            self._drop()
        elif self._closing.run(self._has_said_all, now) > LINGER_S:
            self.transport.abort()  # TLS waits for the other side's farewell, which few send
        else:
            self._next_look = self.loop.call_later(LOOK_INTERVAL_S, self._look)

    def _drop(self) -> None:
        """Close at once: a plain close would leave what was not read with the kernel, for minutes."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    @property
    def _waits_for_headers(self) -> bool:
        """A request has begun, or the connection's first is still to come; between requests uvicorn has a limit."""
        has_begun = bool(self.conn.trailing_data[0]) or not self._had_request
        return self.conn.their_state is h11.IDLE and has_begun

    @property
    def _waits_for_nothing(self) -> bool:
        """The request was answered before its body came, which is of no use any more."""
        return self.conn.their_state is h11.SEND_BODY and self._had_request and self.cycle.response_complete

    @property
    def _has_said_all(self) -> bool:
        """The connection is being closed, and nothing is left to send."""
        return self.transport.is_closing() and self.transport.get_write_buffer_size() == 0

    @property
    def _had_request(self) -> bool:
        """Whether the headers of any request have come."""
        cycle: object | None = self.cycle
        return cycle is not None

    def _does_not_read(self, now: float) -> bool:
        """Whether what was written has lain here for the whole time, or shrinks too slowly."""
        size = self.transport.get_write_buffer_size()
        waited_s = self._backlog.run(size > 0, now)
        if waited_s == 0:
            self._backlog_bytes = size
        if waited_s <= self._deadlines.write_timeout_s:
            return False
        num_read = self._backlog_bytes - size
        self._backlog.stop()
        return num_read < MIN_READ_BYTES_PER_S * waited_s


class _Stopwatch:
    """For how long something has been so, looked at now and then."""

    def __init__(self) -> None:
        self._since: float | None = None

    def run(self, is_so: bool, now: float) -> float:
        """Seconds for which it has been so; 0 where it is not, or has just begun to be."""
        if not is_so:
            self._since = None
        elif self._since is None:
            self._since = now
        return 0.0 if self._since is None else now - self._since

    def stop(self) -> None:
        """Begin anew with the next look."""
        self._since = None
