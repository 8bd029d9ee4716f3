"""The process of `softprompt task convert`, forked from one that has imported everything: two seconds less for each."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from server.cli.tasks import pickle_worker
from server.cli.tasks.pickle_process import WORKER
from tests.system.forked_process import forked


def run(command: Sequence[str], *, timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
    """In the place of `subprocess.run`. Bounds that the worker sets are its own process's, as they are there."""
    assert command[1:4] == ["-P", "-m", WORKER]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = forked(_work, (command[4], out, err))
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())


def _work(order: str, out: Path, err: Path) -> None:
    """Be the worker: in the forked process."""
    with (
        out.open("w") as printed,
        err.open("w") as said,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(said),
    ):
        pickle_worker.main(order)
