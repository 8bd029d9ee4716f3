"""Where the benchmark keeps what git does not: built models, other engines, results."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
RESULTS = CACHE / "results.jsonl"
PEERS = {name: CACHE / "peers" / name / "bin" / "python" for name in ("vllm", "llama.cpp")}
"""The Python of contenders that have a venv of their own (`make bench-peers`)."""
REAL_MODEL = ROOT / ".real" / "smollm2-135m-instruct-float32"
"""What `make real-model` makes."""
