"""Files of examples: one ``{"input", "output"}`` object per line."""

from __future__ import annotations

import json
from pathlib import Path

from demo.data.example import Example, normalised


def reserved_inputs(handwritten_dir: Path) -> frozenset[str]:
    """Normalised hand-written inputs: no training example may equal one."""
    files = sorted(handwritten_dir.glob("*.jsonl"))
    return frozenset(normalised(example.input) for path in files for example in read_examples(path))


def read_examples(path: Path) -> list[Example]:
    """Examples of a file of ``{"input", "output"}`` lines."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Example(row["input"], row["output"], row["input"]) for row in rows]


def write_examples(path: Path, examples: list[Example]) -> None:
    """The counterpart of ``read_examples``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"input": e.input, "output": e.output}, ensure_ascii=False) for e in examples]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
