"""The benchmark's side of a contender's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.contender import Run, Setup, run_from_json
from benchmarks.folders import CACHE, PEERS, ROOT
from benchmarks.workload import Workload


class ContenderUnavailable(Exception):
    """A contender is not installed, or has failed; the message says which."""


class ContenderProcess:
    """A contender that is started once and asked many times. Between two workloads it only waits."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        python = PEERS.get(setup.contender, Path(sys.executable))
        if not python.exists():
            raise ContenderUnavailable("not installed")
        self.log = CACHE / "logs" / f"{setup.contender}-{os.getpid()}-{id(self):x}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.worker"],
                cwd=ROOT,
                env=_environment(setup.threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self._ask(asdict(setup))
        except BaseException:
            self.close()
            raise

    def run(self, workload: Workload) -> Run:
        """Answer a workload. Raises `ContenderUnavailable` with what went wrong."""
        return run_from_json(self._ask(asdict(workload)))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, message: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContenderUnavailable(f"{self.setup.contender} has ended; see {self.log}")
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderUnavailable(f"{answer['error']} (see {self.log})")
        return answer["ok"]


def _environment(threads: int) -> dict[str, str]:
    """One setting of threads for every library, and no way to the hub."""
    number = str(threads)
    return os.environ | {
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
