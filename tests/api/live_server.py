"""The application behind a real socket, for clients that bring their own transport."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from server.api.services import Services
from server.app import create_app


@contextmanager
def live_server(services: Services) -> Iterator[str]:
    """The URL of a server on a free port of loopback, which ends with the context."""
    config = uvicorn.Config(create_app(services), port=0, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
