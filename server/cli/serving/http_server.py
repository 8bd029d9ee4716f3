"""uvicorn with this product's configuration and shutdown. Only `serve` imports it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from server.api.middleware.drain import Drain
from server.cli.serving.http_protocol import DeadlineProtocol, Deadlines
from server.settings import ServeSettings

KEEP_ALIVE_S = 60
_FLUSH_S = 1  # minimum time to send finished answers, also those of requests that were cut off

_log = logging.getLogger(__name__)


class HttpServer(uvicorn.Server):
    """A uvicorn server that calls `on_ready` once it listens, and stops in two stages.

    After the first signal it reports that it is not ready, and rejects new requests. It finishes accepted requests, and
    sends their answers, for at most `grace_s` seconds. Then `cut_off` ends the rest. A second signal ends the process
    at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        drain: Drain | None = None,
        grace_s: float = 0.0,
        cut_off: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._drain = Drain() if drain is None else drain
        self._grace_s = grace_s
        self._cut_off = cut_off
        self._ending: asyncio.Task[bool] | None = None
        self._grace_ends_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `on_ready`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At the first signal, begin to drain. At the second, end the process."""
        if self._drain.is_draining:
            os._exit(128 + sig)
        self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to close. uvicorn calls this ten times per second."""
        if self._drain.is_draining and self._ending is None:
            _log.info("stopping: accepted requests may finish; a second signal ends them")
            self._ending = asyncio.create_task(self._drain.finish(self._grace_s), name="drain")
            self._grace_ends_at = time.monotonic() + self._grace_s
        if self._ending is not None and self._ending.done():
            if not self._ending.result():
                _log.warning("the grace period is over; %d requests are cut off", self._drain.num_open)
                self._cut_off()
            left_s = self._grace_ends_at - time.monotonic()
            self.config.timeout_graceful_shutdown = max(_FLUSH_S, math.ceil(left_s))
            self.should_exit = True
        return await super().on_tick(counter)


def http_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """Return uvicorn's configuration: limits for headers, no trust in proxy headers, this product's logging."""
    deadlines = Deadlines(settings.header_timeout_s, settings.write_timeout_s)
    protocol = partial(DeadlineProtocol, deadlines=deadlines, max_header_bytes=settings.max_header_bytes)
    return uvicorn.Config(
        app,
        http=cast(Any, protocol),  # uvicorn only calls it
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=settings.access_log or settings.log_level == "debug",
        proxy_headers=False,
        server_header=False,
        root_path=settings.root_path,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=_FLUSH_S,
    )
