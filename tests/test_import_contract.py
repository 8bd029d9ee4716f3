"""What importing costs. Who may import whom is `make check`'s to say (import-linter, contracts in pyproject.toml)."""

import ast
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MODEL_LIBRARIES = {"torch", "transformers", "peft"}
ALEMBIC = {"alembic", "mako"}
OTHER_MODELS = {f"transformers.models.{name}.modeling_{name}" for name in ("bloom", "falcon", "deberta_v2", "mpnet")}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("server.cli", MODEL_LIBRARIES | {"numpy", "fastapi", "uvicorn", "sqlalchemy", "httpx"}),
        ("server.cli.tasks.http_backend", MODEL_LIBRARIES | {"numpy", "fastapi", "sqlalchemy"}),
        ("server.cli.tasks.store_backend", MODEL_LIBRARIES | ALEMBIC | {"fastapi"}),
        (
            "server.app",
            ALEMBIC | OTHER_MODELS | {"peft", "matplotlib", "scipy", "sklearn", "pandas", "vllm", "redis", "httpx"},
        ),
    ],
    ids=["any command", "tasks on a server", "tasks in a database", "a server"],
)
def test_a_program_imports_nothing_that_it_does_not_use(module, heavy):
    """`softprompt --help` and `softprompt task list` answer at once; a server that tunes nothing never needs PEFT."""
    probe = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


OPTIONAL = {
    "prompts_store/sql/databases/postgres.py": {"psycopg"},
    "server/engine/vllm/core_scheduler.py": {"vllm"},
    "server/engine/vllm/start.py": {"vllm"},
    "server/model/gpu/kernels.py": {"triton"},
    "server/ray_serve.py": {"ray"},
}
"""Modules that are imported only where these are wanted and there."""


def test_what_only_an_extra_installs_is_imported_where_it_is_used():
    """A plain installation can import everything else."""
    there = _closure(Requirement("softprompt-server"))
    installed_by = packages_distributions()
    found = {}
    for path in sorted([*ROOT.glob("server/**/*.py"), *ROOT.glob("prompts_store/**/*.py")]):
        names = _imported(path) - sys.stdlib_module_names - {"server", "prompts_store"}
        missing = {name for name in names if there.isdisjoint(map(_plain, installed_by.get(name, ())))}
        if missing:
            found[str(path.relative_to(ROOT))] = missing
    assert found == OPTIONAL


def _imported(path: Path) -> set[str]:
    """What a file imports as soon as it is imported itself."""
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in imports if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def _closure(root: Requirement) -> set[str]:
    """The distributions that a requirement installs, itself included."""
    found: set[tuple[str, str]] = set()
    left = [(root.name, extra) for extra in ("", *root.extras)]
    while left:
        name, extra = left.pop()
        if (_plain(name), extra) in found:
            continue
        found.add((_plain(name), extra))
        try:
            wanted = map(Requirement, requires(name) or ())
        except PackageNotFoundError:  # optional on this machine
            continue
        for each in wanted:
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                left += [(each.name, of) for of in ("", *each.extras)]
    return {name for name, _ in found}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
