"""Server processes forked from one process that has imported everything, which saves each of them seconds of imports.

The process is `multiprocessing`'s fork server: it imports and starts no thread. A test worker starts it with the first
server, and it ends with the worker. What differs from a server that is executed: it leaves by `os._exit`, and variables
that are read while Python starts or a library is loaded (`LD_PRELOAD`) come too late.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["server.app", "server.cli", "server.cli.serving.http_server", "server.cli.serving.watchdog"]
)


def forked(target: Callable[..., None], arguments: tuple[object, ...]) -> multiprocessing.process.BaseProcess:
    """Run a function of a module in a forked process, which is started and ends with this one."""
    process = _context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


class ForkedProcess:
    """`softprompt` with these arguments, with the part of `subprocess.Popen` that servers need."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: Path, stderr: Path
    ) -> None:
        self.args = arguments
        self._process = forked(_run, (arguments, cwd, dict(env), stdout, stderr))
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(["softprompt", *self.args], timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _run(arguments: Sequence[str], cwd: Path, env: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Be the server: in the forked process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for path, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    from server.cli import main

    sys.exit(main(arguments))
