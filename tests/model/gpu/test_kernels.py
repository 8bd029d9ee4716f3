"""The kernels compile to machine code, for a GPU that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.model.gpu.attention import is_triton_available
from tests.model.gpu.compile_kernels import SHARED_BYTES

CAPABILITY = "86"
"""With bfloat16, and with the least shared memory. The program takes others as well (75, 80, 90)."""


@pytest.mark.slow
@pytest.mark.timeout(600)  # a slow machine, not a hang
@pytest.mark.skipif(not is_triton_available(), reason="Triton is not installed")
def test_kernels_compile_and_fit_shared_memory(tmp_path):
    """In one process of its own: here Triton may be set to interpret."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.gpu.compile_kernels", CAPABILITY],
        cwd=Path(__file__).parents[3],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=590,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    shared = [int(line[-1]) for line in lines if line[0] == CAPABILITY]
    assert len(shared) == 11
    assert max(shared) <= SHARED_BYTES[int(CAPABILITY)]
