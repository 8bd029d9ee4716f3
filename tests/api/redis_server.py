"""A Redis for tests: the one that a variable names, else a private one on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

URL_VARIABLE = "SOFTPROMPT_TEST_REDIS_URL"
REQUIRE_VARIABLE = "SOFTPROMPT_REQUIRE_REDIS"
_START_TIMEOUT_S = 30.0


class NoRedis(Exception):
    """This machine has no Redis to test with."""


@contextmanager
def redis_server(url: str | None) -> Iterator[str]:
    """The URL of a server, started here and stopped in the end where none is named. Raises NoRedis."""
    if url is not None:
        yield url
        return
    if shutil.which("redis-server") is None:
        raise NoRedis(f"set {URL_VARIABLE}, or install redis-server")
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_it_answers(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def variables() -> tuple[str | None, bool]:
    """The server that is named, and whether its absence is a failure."""
    return os.environ.get(URL_VARIABLE), os.environ.get(REQUIRE_VARIABLE) == "1"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
