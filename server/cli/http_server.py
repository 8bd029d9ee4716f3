"""uvicorn as this product runs it. Imported only to serve."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from server.api.drain import Drain
from server.cli.http_protocol import DeadlineProtocol, Deadlines
from server.settings import ServeSettings

KEEP_ALIVE_S = 60
_FLUSH_S = 1  # for answers that are complete and still in a socket's buffer, and for tasks that are being cut off

_log = logging.getLogger(__name__)


class HttpServer(uvicorn.Server):
    """A uvicorn server that says when it is ready, and ends in two stages.

    After the first signal it still listens, and answers: that it is not ready, that it takes no new work, and what it
    has accepted, for `grace_s` seconds at most. Then it closes. A second signal ends the process at once.
    """

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], drain: Drain | None = None, grace_s: float = 0.0
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._drain = Drain() if drain is None else drain
        self._grace_s = grace_s
        self._ending: asyncio.Task[bool] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: finish what runs. Second: leave, whatever runs."""
        if self._drain.is_draining:
            os._exit(128 + sig)
        self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True once it is time to close."""
        if self._drain.is_draining and self._ending is None:
            _log.info("stopping: accepted requests may finish; a second signal ends them")
            self._ending = asyncio.create_task(self._drain.finish(self._grace_s), name="drain")
        if self._ending is not None and self._ending.done():
            if not self._ending.result():
                _log.warning("the grace period is over: %d requests are cut off", self._drain.num_open)
            self.should_exit = True
        return await super().on_tick(counter)


def http_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """Return uvicorn's configuration: bounded and timed headers, no proxy headers believed, our logging."""
    deadlines = Deadlines(settings.header_timeout_s, settings.write_timeout_s)
    return uvicorn.Config(
        app,
        http=cast(Any, partial(DeadlineProtocol, deadlines=deadlines)),  # uvicorn only calls it
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=settings.access_log or settings.log_level == "debug",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=settings.max_header_bytes,
        root_path=settings.root_path,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=_FLUSH_S,
    )
