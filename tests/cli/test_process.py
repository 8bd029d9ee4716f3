"""`softprompt serve` as a process with the demo model: what it prints is true, and the README's examples run."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
README_URL = "http://127.0.0.1:8000"


@contextmanager
def serving(data_dir):
    """Run a server until the block ends; the block gets the process and what it printed up to being ready."""
    command = [BIN / "softprompt", "serve", "--port", "0", "--data-dir", data_dir, "--threads", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed = []
            for line in process.stdout:
                printed.append(line)
                if "/v1/classify" in line:
                    break
            yield process, "".join(printed)
        finally:
            if process.poll() is None:
                process.kill()


def blocks(language, *words):
    """The README's code blocks of this language that hold every word."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if all(word in block for word in words)]


def run(script, url, tmp_path):
    """Run a block of the README with its address, folder and commands replaced; return its standard output."""
    script = script.replace(README_URL, url).replace("/tmp/mood", str(tmp_path / "mood"))
    script = script.replace(".venv/bin/softprompt", str(BIN / "softprompt"))
    environment = os.environ | {"SOFTPROMPT_URL": url}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_what_serve_prints_and_what_the_readme_shows_works(tmp_path):
    """Every command a newcomer copies, against the real thing; then Ctrl-C, which ends it with success."""
    with serving(tmp_path) as (process, printed):
        url = re.search(r"ready: (\S+)", printed)[1]

        commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  curl")]
        answers = [httpx.post(command[2], json=json.loads(command[-1])).json() for command in commands]
        assert [answer["choices"][0]["text"] for answer in answers[:2]] == ["positive", "2021-03-05"]
        assert answers[2]["data"][0]["label"] == "negative"

        (two_tasks,) = blocks("sh", "/v1/completions")
        both = run(two_tasks, url, tmp_path)
        assert '"text":"negative"' in both
        assert '"text":"1976-07-04"' in both
        (classify,) = blocks("sh", "/v1/classify")
        assert [verdict["label"] for verdict in json.loads(run(classify, url, tmp_path))["data"]] == [
            "positive",
            "negative",
        ]
        (publish,) = blocks("sh", "-F adapter_config")
        assert json.loads(run(publish, url, tmp_path))["version"] == 1
        (commands,) = blocks("sh", "task publish", "rollback")
        assert run(commands, url, tmp_path).endswith("positive\n")
        (client,) = blocks("python", "OpenAI")
        python = f"{shlex.quote(sys.executable)} - <<'END'\n{client}END"
        assert run(python, url, tmp_path) == "positive\n"

        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
