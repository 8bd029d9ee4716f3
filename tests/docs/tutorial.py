"""The tutorial as it stands, with its installation, in a fresh clone: `make tutorial-test`. It takes minutes.

This runs before anything is installed, so it imports the standard library only.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from tests.docs.page_run import FRESH, Place, run
from tests.docs.snippets import ROOT, blocks

TIMEOUT_S = 3600.0


def main() -> None:
    """Clone the last commit, run every block, and print what each took with it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        began, tutorial = time.monotonic(), blocks("docs/tutorial.md")
        run(tutorial, Place(clone, preamble=FRESH), TIMEOUT_S)
        print(
            f"docs/tutorial.md: {len(tutorial)} blocks ran in {time.monotonic() - began:.0f} s, installation included"
        )


if __name__ == "__main__":
    main()
