"""The checks of a commit are those of `make check`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_hooks_of_a_commit_run_the_commands_of_make_check():
    """A check that is added to one list and not to the other fails here."""
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == commands
    (workflows,) = (command for command in commands if "github-workflows" in command)
    assert workflows.split()[-3:] == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*"))
    assert not any(hook["pass_filenames"] for hook in repository["hooks"]), "a check reads the whole tree"
