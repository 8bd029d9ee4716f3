"""A disk that fails when a test says so, for processes that have nothing to do with the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import NoProgram, program, without_program


class FailingDisk:
    """A library to preload (`environment`); `fail` and `heal` act on the processes that have it, at once."""

    def __init__(self, folder: Path) -> None:
        """Compile it, or skip the test."""
        if sys.platform != "linux":
            pytest.skip("the shim for a failing disk needs Linux")
        try:
            compiler = program("cc", "gcc")
        except NoProgram as reason:
            without_program(reason)
        self.control = folder / "disk"
        library = folder / "failing_disk.so"
        source = Path(__file__).with_name("failing_disk.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "FAILING_DISK": str(self.control)}

    def fill(self) -> None:
        """Let every write into a database fail with ENOSPC."""
        self.control.write_text("write")

    def heal(self) -> None:
        """Let everything work again."""
        self.control.write_text("")
