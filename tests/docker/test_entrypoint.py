"""The entrypoint and the health check, run outside a container."""

import json
import os
import re
import subprocess

import pytest

from tests.docker.test_files import BIN, ROOT

DOCKERFILE = ROOT / "Dockerfile"
ENTRYPOINT = ROOT / "docker/entrypoint.sh"


@pytest.fixture
def run(tmp_path):
    """Run the entrypoint with a `softprompt` that says how it was called."""
    fake = tmp_path / "softprompt"
    fake.write_text('#!/bin/sh\necho "$@|${PGPASSWORD:-}"\n')
    fake.chmod(0o755)

    def run(*arguments, **variables):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables
        return subprocess.run(
            ["sh", ENTRYPOINT, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "called"),
    [((), "serve"), (("--port", "1"), "serve --port 1"), (("db", "upgrade"), "db upgrade")],
)
def test_options_go_to_the_server_and_commands_are_run(run, arguments, called):
    assert run(*arguments).stdout == f"{called}|\n"


def test_the_databases_password_comes_from_a_file(run, tmp_path):
    (tmp_path / "password").write_text("pa55\n")
    answer = run(SOFTPROMPT_DATABASE_PASSWORD_FILE=str(tmp_path / "password"))
    assert answer.stdout == "serve|pa55\n"


def test_a_missing_secret_stops_it(run, tmp_path):
    answer = run(SOFTPROMPT_DATABASE_PASSWORD_FILE=str(tmp_path / "nothing"))
    assert answer.returncode != 0
    assert answer.stdout == ""


def test_the_health_check_fails_where_nobody_answers():
    """It is taken from the Dockerfile and run as it stands."""
    command = json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\nSTOPSIGNAL", DOCKERFILE.read_text(), re.DOTALL)[1])
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "SOFTPROMPT_PORT": "9"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "Connection refused" in answer.stderr
