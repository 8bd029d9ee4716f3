"""The connector by itself: the export command, then vLLM's own OpenAI server, which knows nothing of ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from softprompt_vllm.requests import transfer_config

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "server" / "demo"
EXPECTED = {
    ("sentiment", "The food was cold and the waiter was rude"): "negative",
    ("sentiment", "Best purchase I have made this year!"): "positive",
    ("date-iso", "July 4th, 1976"): "1976-07-04",
}
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The demo's soft prompts as files, by the server's venv. The answer of the command has the fields of a request."""
    folder = tmp_path_factory.mktemp("alone")
    names = sorted({task for task, _ in EXPECTED})
    command = [ROOT / ".venv/bin/softprompt", "vllm-export", *names, folder / "files", "--json", "--data-dir", folder]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.returncode == 0, ended.stderr
    return folder / "files", dict(zip(names, json.loads(ended.stdout), strict=True))


@pytest.fixture(scope="module")
def url(exported):
    """vLLM's server over the demo's base model."""
    folder, _ = exported
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", DEMO / "base", "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--block-size", "32"]
    command += ["--kv-transfer-config", json.dumps(transfer_config(folder))]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    log = folder.parent / "log"
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **own}, cwd=ROOT)
    try:
        _wait(server, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait(server, url, log):
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(log.read_text()[-3000:])


def _complete(url, body):
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.parametrize(("task", "text"), list(EXPECTED))
def test_vllms_own_server_answers_behind_a_soft_prompt(url, exported, task, text):
    """Ids, salt and parameters in the body, as docs/engines.md says."""
    fields = exported[1][task]
    template = json.loads((DEMO / "tasks" / task / "manifest.json").read_text())["template"]
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    ids = tokenizer(template.format(input=text), add_special_tokens=False).input_ids
    body = {
        "model": str(DEMO / "base"),
        "prompt": [tokenizer.pad_token_id] * fields["num_virtual_tokens"] + ids,
        "cache_salt": fields["cache_salt"],
        "kv_transfer_params": fields["kv_transfer_params"],
        "max_tokens": 12,
        "temperature": 0,
    }
    for _ in range(2):
        (choice,) = _complete(url, body)["choices"]
        assert (choice["text"].strip(), choice["finish_reason"]) == (EXPECTED[task, text], "stop")


def test_a_lie_is_no_answer(url, exported):
    """A salt without parameters ends with an error of this one request."""
    fields = exported[1]["sentiment"]
    body = {"model": str(DEMO / "base"), "prompt": [5] * 60, "cache_salt": fields["cache_salt"], "max_tokens": 4}
    with pytest.raises(urllib.error.HTTPError, match="500"):
        _complete(url, body)
    (choice,) = _complete(url, {**body, "cache_salt": "tenant"})["choices"]
    assert choice["finish_reason"] in ("length", "stop")
