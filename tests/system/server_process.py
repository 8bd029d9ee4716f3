"""`softprompt serve` as a process of its own, on a free port of loopback, with its log in a file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.system.forked_process import ForkedProcess

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
_SERVE = "import sys; from server.cli import main; sys.exit(main())"


class ServerProcess:
    """A server that starts at once and is stopped, or killed if it does not stop, when its context closes.

    `options` are those of `softprompt serve` by their names as settings. Standard output, which says when the server is
    ready, and the log go into files of their own beside each other: `log` and `log` with the suffix `.out`.
    `environment` has variables that the process gets besides; one that has any is never forked.
    """

    is_forked: ClassVar[bool] = False

    def __init__(self, log: Path, *, environment: Mapping[str, str] = {}, **options: object) -> None:
        self.log = log
        self._printed = log.with_suffix(".out")
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in ({"port": 0} | options).items()]
        variables = {name: value for name, value in os.environ.items() if not name.startswith("SOFTPROMPT_")}
        variables |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
        self._printed.write_bytes(b"")
        self.process: subprocess.Popen[bytes] | ForkedProcess
        if self.is_forked and not environment:
            self.process = ForkedProcess(
                ["serve", *arguments], cwd=ROOT, env=variables, stdout=self._printed, stderr=log
            )
            return
        with self._printed.open("wb") as stdout, log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, "serve", *arguments],
                cwd=ROOT, env=variables, stdout=stdout, stderr=stderr,
            )  # fmt: skip

    @cached_property
    def url(self) -> str:
        """Where it listens, once it is ready."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (found := re.search(r"ready: (\S+)", self._printed.read_text())):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return found[1].rstrip("/")

    @property
    def resident_mib(self) -> float:
        """Memory of the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    @property
    def cpu_s(self) -> float:
        """Processor time that the process has taken so far, in user and system mode, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it at once, as a machine that fails would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Let it finish what it has accepted; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Stop it if it still runs, and kill it if it does not stop."""
        if self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        if self.process.poll() is None:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
