"""Programs that tests run and that are no Python packages. What asks for one that is missing is skipped, or fails."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

REQUIRE_VARIABLE = "SOFTPROMPT_REQUIRE_PROGRAMS"
_IS_REQUIRED = os.environ.get(REQUIRE_VARIABLE) == "1"  # read before tests/conftest.py hides our variables from tests


class NoProgram(Exception):
    """This machine has not got it."""


def program(name: str, package: str) -> str:
    """The path of a program. Raises NoProgram, which names Debian's package."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise NoProgram(f"{name} is not installed (Debian: {package})")
    return found


def without_program(reason: NoProgram) -> NoReturn:
    """Skip a test, or fail it where every program must be there."""
    if _IS_REQUIRED:
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))
