"""Where the benchmark keeps what git does not: built models, other engines, results."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
RESULTS = CACHE / "results.jsonl"
VLLM_PYTHON = CACHE / "peers" / "vllm" / "bin" / "python"
