"""The file of results: one JSON object, an outcome by the key of its setting. A run goes on from what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.tuning.settings import Setting, all_settings

Results = dict[str, dict[str, Any]]
SWITCH = "switch"
"""The key of the times to switch task, which are no setting's."""


def read_results(file: Path) -> Results:
    """Outcomes by key; none where there is no file."""
    found: Results = json.loads(file.read_text()) if file.exists() else {}
    return found


def run_missing(file: Path, tasks: Sequence[str], max_cpu_s: float) -> None:
    """Run each setting without an outcome, in a process of its own, until there is none or the time is spent.

    The best settings of a sweep become known on the way, so the next one is looked for after each.
    """
    spent = 0.0
    while spent < max_cpu_s and (setting := next_setting(read_results(file), tasks)) is not None:
        outcome = run_alone(setting.key)
        spent += outcome["process_cpu_s"]
        keep(file, setting.key, outcome)
        print(f"{setting.key}: {outcome}", flush=True)


def next_setting(results: Results, tasks: Sequence[str]) -> Setting | None:
    """The first setting, of one of the tasks, that has no outcome."""
    missing = (one for one in all_settings(results) if one.key not in results and one.task in tasks)
    return next(missing, None)


def run_alone(key: str) -> dict[str, Any]:
    """One setting in a process of its own, whose memory is then its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.tuning", "--one", key]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(text.splitlines()[-1])
    return answer


def keep(file: Path, key: str, outcome: dict[str, Any]) -> None:
    """Add an outcome. The file is replaced as a whole, so it is never half written."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({**read_results(file), key: outcome}, indent=1) + "\n")
    partial.replace(file)
