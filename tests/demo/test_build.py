"""The build script runs from nothing to checkpoints, in its smoke form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.build import build, quick_plan
from demo.catalog import TASKS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_quick_build_writes_the_whole_set(tmp_path: Path) -> None:
    """Tokenizer, base, a checkpoint with manifest a task, held-out examples and figures, all in the given folder."""
    build(quick_plan(tmp_path))
    assert (tmp_path / "base" / "model.safetensors").is_file()
    for task in TASKS:
        config = json.loads((tmp_path / "tasks" / task.name / "adapter_config.json").read_text())
        assert config["peft_type"] == task.peft_type
        assert (tmp_path / "tasks" / task.name / "adapter_model.safetensors").is_file()
        manifest = json.loads((tmp_path / "tasks" / task.name / "manifest.json").read_text())
        assert 0 <= manifest["metrics"]["heldout_exact_match"] <= 1
    assert set(json.loads((tmp_path / "figures.json").read_text())["tasks"]) == {task.name for task in TASKS}
