"""`softprompt serve` as a process with the demo model: what it prints is true."""

import json
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


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


def test_the_commands_that_serve_prints_work(tmp_path):
    """Each is sent as it stands; then Ctrl-C ends the server with success."""
    with serving(tmp_path) as (process, printed):
        commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  curl")]
        answers = [httpx.post(command[2], json=json.loads(command[-1])).json() for command in commands]
        assert [answer["choices"][0]["text"] for answer in answers[:2]] == ["positive", "2021-03-05"]
        assert answers[2]["data"][0]["label"] == "negative"

        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
