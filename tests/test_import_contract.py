"""What importing costs. Who may import whom is `make check`'s to say (import-linter, contracts in pyproject.toml)."""

import subprocess
import sys

import pytest

MODEL_LIBRARIES = {"torch", "transformers", "peft"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("server.cli", MODEL_LIBRARIES | {"numpy", "fastapi", "uvicorn", "sqlalchemy"}),
        ("server.cli.http_backend", MODEL_LIBRARIES | {"numpy", "fastapi", "sqlalchemy"}),
        ("server.cli.store_backend", MODEL_LIBRARIES | {"fastapi"}),
    ],
    ids=["any command", "tasks on a server", "tasks in a database"],
)
def test_a_command_that_runs_no_model_imports_none(module, heavy):
    """`softprompt --help` and `softprompt task list` answer at once."""
    probe = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
