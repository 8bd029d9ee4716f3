"""The kernels compile to machine code, for GPUs old and new; none need be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.model.gpu.attention import is_triton_available
from tests.model.gpu.compile_kernels import SHARED_BYTES


@pytest.mark.slow
@pytest.mark.skipif(not is_triton_available(), reason="Triton is not installed")
@pytest.mark.parametrize("capability", [86, 90])
def test_kernels_compile_and_fit_shared_memory(capability, tmp_path):
    """In a process of its own: here Triton may be set to interpret."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.gpu.compile_kernels", str(capability)],
        cwd=Path(__file__).parents[3],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shared = [int(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(shared) == 11
    assert max(shared) <= SHARED_BYTES[capability]
