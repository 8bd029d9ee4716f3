"""The README's table of figures, made from ``figures.json``: ``python -m demo.report``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "figures.json"

_HEADER = (
    "| task | base, no prompt | told in words | soft prompts, mean (range) | published | hand-written | later list |\n"
    "|---|---|---|---|---|---|---|\n"
)


def table(figures: dict[str, Any]) -> str:
    """A Markdown table, one row per task; all figures are exact match, the first four on the 200 held-out inputs."""
    return _HEADER + "\n".join(_row(name, task) for name, task in figures["tasks"].items())


def _row(name: str, task: dict[str, Any]) -> str:
    seeds = [scores["heldout"] for scores in task["soft_prompt"].values()]
    best = task["soft_prompt"][str(task["published_seed"])]
    spread = f"{statistics.mean(seeds):.3f} ({min(seeds):.3f} to {max(seeds):.3f})"
    later = "" if best["later"] is None else f"{best['later']:.3f}"
    cells = [
        f"`{name}`",
        f"{task['without_prompt']['heldout']:.3f}",
        f"{task['instruction']['heldout']:.3f}",
        spread,
        f"{best['heldout']:.3f}",
        f"{best['handwritten']:.2f}",
        later,
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(table(json.loads(FIGURES.read_text(encoding="utf-8"))))
