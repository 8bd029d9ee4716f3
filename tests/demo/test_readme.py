"""The demo's README tells measured figures only."""

from __future__ import annotations

import json
from pathlib import Path

from demo.catalog import TASKS
from demo.report import FIGURES, table
from server.demo import TASKS_DIR

README = FIGURES.parent / "README.md"


def test_table_is_the_measured_one() -> None:
    """The table is the one ``demo.report`` makes from the committed figures."""
    assert table(json.loads(FIGURES.read_text())) in README.read_text()


def test_figures_and_manifests_agree() -> None:
    """The published seed's scores are those in the manifest."""
    figures = json.loads(FIGURES.read_text())["tasks"]
    assert set(figures) == {task.name for task in TASKS}
    for task in TASKS:
        metrics = json.loads((Path(TASKS_DIR) / task.name / "manifest.json").read_text())["metrics"]
        best = figures[task.name]["soft_prompt"][str(figures[task.name]["published_seed"])]
        assert metrics["heldout_exact_match"] == best["heldout"]
        assert metrics["handwritten_exact_match"] == best["handwritten"]
        assert metrics["base_exact_match"] == figures[task.name]["without_prompt"]["heldout"]
        assert all(scores["validation"] <= best["validation"] for scores in figures[task.name]["soft_prompt"].values())
