"""How tests start a scripted tuning process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from server.jobs.process.child import TuningCommand

ROOT = Path(__file__).parents[3]


def scripted(module: str = "tests.jobs.process.scripted_child", **values: Any) -> TuningCommand:
    """A command that starts a script in place of our engine; `values` are its settings."""
    return TuningCommand(Path(sys.executable), {**os.environ, "PYTHONPATH": str(ROOT)}, values, module)
