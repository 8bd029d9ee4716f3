"""Tensor parallelism: each rank captures, reads and keeps its own heads."""

from __future__ import annotations

import json
import subprocess
import sys


def test_two_ranks_answer_as_peft():
    """Captures and files, loaded again after each reset."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.vllm.two_ranks"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(next(line for line in reversed(ended.stdout.splitlines()) if line.startswith("{")))
    print(json.dumps(found))
    assert all(num == total == 27 for num, total in found.values()), found
