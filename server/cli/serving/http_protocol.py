"""HTTP/1.1 that closes connections without progress. uvicorn itself waits for slow headers and slow readers for ever.

Slow request bodies are rejected with an HTTP error in `server.api.middleware.body_limit`.
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

CHECK_INTERVAL_S = 1.0
LINGER_S = 2.0
"""Seconds in which a client that was answered early may still send its request's body, which is not read."""
SEND_BUFFER_BYTES = 64 * 1024
"""Size of the kernel's send buffer. The default of some megabytes would hide for long that a client does not read."""
MIN_READ_BYTES_PER_S = 1024
"""Minimum rate of a client that has more left to read than the send buffer holds."""

_BAD_REQUEST = {
    "message": "the request is not valid HTTP",
    "type": "invalid_request_error",
    "code": "malformed_request",
}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Maximum seconds until a request's headers are complete, and maximum seconds without reading the answer."""

    header_timeout_s: float
    write_timeout_s: float


class ServerConnection(h11.Connection):
    """The server's side of HTTP/1.1 with bounded headers and fewer, cheaper writes.

    h11 checks the size of incomplete headers only. Complete headers that arrive in one read can be larger. It also
    takes each chunk of a body through its state machine, which no chunk changes. The head of an answer with a length
    is sent together with the beginning of its body: each write gives the interpreter to the engine's thread.
    """

    def __init__(self, max_header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=max_header_bytes)
        self._max_header_bytes = max_header_bytes
        self._is_chunked = False
        self._head = b""  # of an answer whose body has not begun

    def next_event(self) -> Any:
        """Return the next event as h11 does. Raises RemoteProtocolError also for headers that are too large."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
            if size > self._max_header_bytes:
                raise h11.RemoteProtocolError("the headers are too large")
        return event

    def send(self, event: Any) -> Any:
        """Return the bytes to send, as h11 does in all. A chunk of a body is framed here (RFC 9112, section 7.1)."""
        if self._is_chunked and type(event) is h11.Data and self.our_state is h11.SEND_BODY:
            return b"%x\r\n%b\r\n" % (len(event.data), event.data) if event.data else b""
        output = super().send(event) or b""
        if isinstance(event, h11.Response):
            self._is_chunked = b"\r\ntransfer-encoding: chunked\r\n" in output.lower()
            if b"\r\ncontent-length: " in output.lower():
                self._head, output = output, b""
        else:
            self._head, output = b"", self._head + output
        return output


class DeadlineProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a check of the connection once per second. Only the event loop's thread uses it."""

    def __init__(self, *arguments: Any, deadlines: Deadlines, max_header_bytes: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = ServerConnection(max_header_bytes)
        self._deadlines = deadlines
        self._headers = _Stopwatch()
        self._unread_body = _Stopwatch()
        self._closing = _Stopwatch()
        self._backlog = _Stopwatch()
        self._backlog_bytes = 0
        self._next_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the checks of the connection."""
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        super().connection_made(transport)
        transport.set_write_buffer_limits(
            high=1
        )  # uvicorn pauses at any backlog, so the backlog shrinks as the client reads
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the checks of the connection."""
        if self._next_check is not None:
            self._next_check.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Reset the stopwatch of the backlog, because the client has read most of a full buffer."""
        self._backlog.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with this API's error body, unless another answer has begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return self.transport.close()
        body = json.dumps({"error": _BAD_REQUEST}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _check(self) -> None:
        now = self.loop.time()
        if (
            self._headers.run(self._waits_for_headers, now) > self._deadlines.header_timeout_s
            or self._unread_body.run(self._is_answered_early, now) > LINGER_S
            or self._does_not_read(now)
        ):
            self._drop()
        elif self._closing.run(self._has_sent_all, now) > LINGER_S:
            self.transport.abort()  # TLS waits for the peer's close_notify, which few clients send
        else:
            self._next_check = self.loop.call_later(CHECK_INTERVAL_S, self._check)

    def _drop(self) -> None:
        """Reset the connection. After a plain close the kernel would keep the unread bytes for minutes."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    @property
    def _waits_for_headers(self) -> bool:
        """Whether a request's headers, or the connection's first request, are still to come.

        Between requests, uvicorn's own timeout applies.
        """
        has_begun = bool(self.conn.trailing_data[0]) or not self._had_request
        return self.conn.their_state is h11.IDLE and has_begun

    @property
    def _is_answered_early(self) -> bool:
        """Whether the request was answered before its body was complete."""
        return self.conn.their_state is h11.SEND_BODY and self._had_request and self.cycle.response_complete

    @property
    def _has_sent_all(self) -> bool:
        """Whether the connection is closing and nothing is left to send."""
        return self.transport.is_closing() and self.transport.get_write_buffer_size() == 0

    @property
    def _had_request(self) -> bool:
        """Whether the headers of any request have arrived."""
        cycle: object | None = self.cycle
        return cycle is not None

    def _does_not_read(self, now: float) -> bool:
        """Return whether the backlog has not shrunk fast enough within the write timeout."""
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
    """The time for which a condition has held, as far as periodic checks can tell."""

    def __init__(self) -> None:
        self._since: float | None = None

    def run(self, holds: bool, now: float) -> float:
        """Return the seconds since the first check at which the condition held; 0 if it does not hold now."""
        if not holds:
            self._since = None
        elif self._since is None:
            self._since = now
        return 0.0 if self._since is None else now - self._since

    def stop(self) -> None:
        """Restart with the next check."""
        self._since = None
