"""What the server and its tuning process say to each other: one JSON object per line, over a pair of sockets.

The process says `Hello`, gets `Settings`, loads, and says `Ready` or `Failed`. It works from the first `Work` on, and
reports. Each side takes a closed socket for the end of the other. Nothing here is imported but Python's own library.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hello:
    """The process has started. `version` is its release of this server."""

    version: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of `ServeSettings` for the process."""

    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """The base model is loaded. `costs` has the fields of `Costs`, None where a run's memory is not bounded."""

    fingerprint: str
    costs: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The process cannot work. The message is written for the operator."""

    message: str


@dataclass(frozen=True, slots=True)
class Work:
    """Read the store now. Jobs never publish to `owned_tasks`, which a folder of the server publishes."""

    owned_tasks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of `TuningStats`."""

    stats: Mapping[str, Any]


Message = Hello | Settings | Ready | Failed | Work | Report
_KINDS = {kind.__name__: kind for kind in (Hello, Settings, Ready, Failed, Work, Report)}


class Channel:
    """One end of the pair of sockets. One thread receives; any thread sends."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lines = end.makefile("rb")

    def send(self, message: Message) -> None:
        """Send a message. One that finds no room is dropped: the other side hangs, or has unread ones of its kind."""
        line = json.dumps({type(message).__name__: asdict(message)}).encode() + b"\n"
        with suppress(OSError):  # no room, or the other side has gone, which `receive` says
            self._socket.send(line, socket.MSG_DONTWAIT)

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Wait for the next message. None: the other side has gone. Raises TimeoutError."""
        try:
            self._socket.settimeout(timeout_s)
            line = self._lines.readline()
        except TimeoutError:
            raise
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        ((kind, fields),) = json.loads(line).items()
        message: Message = _KINDS[kind](**fields)
        return message

    def hang_up(self) -> None:
        """End the conversation: `receive` returns None on both sides."""
        with suppress(OSError):  # the other side has gone
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back, once nobody receives any more."""
        self._lines.close()
        self._socket.close()
