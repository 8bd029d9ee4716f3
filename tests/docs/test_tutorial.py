"""docs/tutorial.md runs as one script, from the first command after the installation to a rolled back task."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.docs.page_run import Place, make_clone, run
from tests.docs.snippets import blocks


@pytest.mark.slow
def test_the_tutorial_runs(programs, tmp_path):
    """Every command succeeds and prints what the page says."""
    path = os.pathsep.join([*map(str, filter(None, [programs, Path(sys.executable).parent])), os.environ["PATH"]])
    run(blocks("docs/tutorial.md"), Place(make_clone(tmp_path / "clone"), environment={"PATH": path}))
