"""uvicorn as this product runs it. Imported only to serve."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from server.cli.http_protocol import DeadlineProtocol, Deadlines
from server.settings import ServeSettings

KEEP_ALIVE_S = 60
EXIT_INTERRUPTED = 130


class HttpServer(uvicorn.Server):
    """A uvicorn server that says when it is ready, and that a second Ctrl-C ends at once."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: finish what runs. Second: leave, whatever runs."""
        if self.should_exit:
            os._exit(EXIT_INTERRUPTED)
        print("stopping: running requests may finish; Ctrl-C again ends them", file=sys.stderr)
        super().handle_exit(sig, frame)


def http_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """Return uvicorn's configuration: bounded and timed headers, no proxy headers believed, our logging."""
    deadlines = Deadlines(settings.header_timeout_s, settings.write_timeout_s)
    return uvicorn.Config(
        app,
        http=cast(Any, partial(DeadlineProtocol, deadlines=deadlines)),  # uvicorn only calls it
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=settings.log_level == "debug",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=settings.max_header_bytes,
        root_path=settings.root_path,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_s),
    )
