"""Keeping other work off the machine while something is measured, on machines that are shared."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Hold:
    """A command of the operator's that holds the machine: it prints a line once it does, and ends when its input does.

    Starting contenders is not measured, so the hold is taken only around rounds, and kept for a few of them.
    """

    def __init__(self, command: str | None, max_held_s: float) -> None:
        self._command = command
        self._max_held_s = max_held_s
        self._process: subprocess.Popen[str] | None = None
        self._since = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Hold the machine for one round; afterwards let go if another such round might be too long."""
        self._take()
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            if time.monotonic() - self._since + took > self._max_held_s:
                self.release()

    def release(self) -> None:
        """Let others go on."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _take(self) -> None:
        if self._command is None or self._process is not None:
            return
        self._process = subprocess.Popen(
            self._command, shell=True, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._since = time.monotonic()
