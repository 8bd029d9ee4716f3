"""The maps: the docstring of a package names exactly what is in it, one line per file or package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    str(path.parent.relative_to(ROOT))
    for top in ("server", "prompts_store", "softprompt_vllm", "benchmarks", "demo", "docs")
    for path in (ROOT / top).rglob("__init__.py")
)
_ENTRY = re.compile(r"^(\w+(?:\.py|/)) {2,}\S", re.MULTILINE)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_map_names_exactly_the_files(package):
    """A line of the map is `name.py   what it is for`, or `name/   …` for a package; a lone file needs no map."""
    folder = ROOT / package
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    files += [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]
    entries = _ENTRY.findall(ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "")
    assert sorted(entries) == sorted(files) or (len(files) < 2 and not entries)
