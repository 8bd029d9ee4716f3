"""The examples that talk to a server do what they say, as a newcomer runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.system.server_process import ROOT, ServerProcess


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server of the demo model."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder / "log", data_dir=folder / "data", threads=1) as server:
        yield server.url


def run(url, *arguments) -> str:
    """Standard output of an example, which must succeed."""
    environment = os.environ | {"SOFTPROMPT_URL": url}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_soft_prompt_is_tuned_over_http_and_answers(url, tmp_path):
    """From a few of the examples in a few steps: how good the answers are is not what is tested."""
    some = tmp_path / "some.jsonl"
    some.write_text("".join((ROOT / "examples/verdict.jsonl").read_text().splitlines(keepends=True)[:60]))
    out = run(url, "examples/tune_over_http.py", some, "verdict", 6)
    assert "6 of 60 examples are held out for validation." in out
    assert re.search(r"^verdict@1: \d\.\d{3} of the held-out answers are right to the letter$", out, re.MULTILINE)
    assert out.splitlines()[-1].startswith("'The sound is crisp and the battery lasts' -> ")


def test_two_tasks_are_asked_together(url):
    """Through the asynchronous client."""
    out = run(url, "-c", _at(url, "examples/openai_client.py"))
    assert re.findall(r" (\S+)$", out, re.MULTILINE) == ["negative", "positive", "1976-07-04", "1998-01-05"]


def test_a_message_is_routed_by_one_task_and_read_by_another(url):
    """The department from its probabilities, then the customer's wish; what is not sure goes to a person."""
    out = run(url, "examples/support_desk.py")
    assert re.findall(r"^ +(\w[\w ]+\w)  \w", out, re.MULTILINE) == [
        "a person", "logistics", "helpdesk", "retention",
    ]  # fmt: skip
    assert "-> Here is where your parcel is." in out


def _at(url, example) -> str:
    text = (ROOT / example).read_text()
    assert "http://127.0.0.1:8000" in text
    return text.replace("http://127.0.0.1:8000", url)
