"""One server for the pages that need no server of their own, and commands that cost no imports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.docs.forked_commands import forked_commands
from tests.system.conftest import forked_servers

__all__ = ["forked_servers"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Iterator[Path | None]:
    """The folder of a `softprompt` that is forked; None where a process must not fork, because it has a GPU."""
    if torch.cuda.is_available():
        yield None
    else:
        with forked_commands(tmp_path_factory.mktemp("commands")) as folder:
            yield folder
