"""Two counts that only fall: tests without their sentence, and tests with a name too long to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MAX_NAME_LENGTH = 70

# Lower a count when a change makes it fall. A change never raises one.
NUM_WITHOUT_SENTENCE = 542
NUM_LONG_NAMES = 20


def _tests() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test with the place where it stands."""
    for path in sorted(FOLDER.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{path.relative_to(FOLDER.parent)}:{node.lineno}", node


def _check(number: int, count: str, fault: str, remedy: str) -> None:
    """Fail when there are more tests with a fault than the named count, and when the count can be lowered."""
    limit = globals()[count]
    if number > limit:
        pytest.fail(f"{number} tests {fault}, at most {limit} may: {remedy}", pytrace=False)
    if number < limit:
        pytest.fail(f"{number} tests {fault}, fewer than before: set {count} to {number}", pytrace=False)


def test_new_tests_say_what_they_prove():
    """A test's docstring is one sentence; tests from before this rule are counted."""
    number = sum(not ast.get_docstring(test) for _, test in _tests())
    _check(number, "NUM_WITHOUT_SENTENCE", "have no docstring", "say in one sentence what the new ones prove")


def test_new_names_are_short():
    """A name states the behaviour; the docstring has room for the rest."""
    found = [f"{place} {test.name}" for place, test in _tests() if len(test.name) > MAX_NAME_LENGTH]
    fault = f"have a name of more than {MAX_NAME_LENGTH} characters"
    _check(len(found), "NUM_LONG_NAMES", fault, "\n".join(["shorten one of", *found]))
