"""A lock that keeps other work off a shared machine during a measurement."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager


class MachineLock:
    """The operator's command takes the lock, prints a line when it has it, and releases it at the end of its input.

    Rounds run under the lock, and several rounds share one lock. Contenders start outside it: a start is not measured.
    """

    def __init__(self, command: str | None, max_locked_s: float) -> None:
        self._command = command
        self._max_locked_s = max_locked_s
        self._process: subprocess.Popen[str] | None = None
        self._since = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Lock the machine for one round. Release it afterwards if a second such round would exceed the maximum."""
        self._acquire()
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            if time.monotonic() - self._since + took > self._max_locked_s:
                self.release()

    def release(self) -> None:
        """Release the machine, if it is locked."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _acquire(self) -> None:
        if self._command is None or self._process is not None:
            return
        self._process = subprocess.Popen(
            self._command, shell=True, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._since = time.monotonic()
