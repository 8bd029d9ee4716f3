"""Tuning beside vLLM's engine, by a process of the server's own virtual environment: jobs, faults, and what is off."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import openai
import pytest

import tests.system.server_process as server_process
from server.demo import BASE_NAME
from tests.system.server_process import ROOT, ServerProcess
from tests.system.tuning_demo import LABELS, NEW_TASK, exact_match, examples, upload, wait
from tests.vllm.environment import WITHOUT_COMPILER

PYTHON = ROOT / ".venv/bin/python"
OPTIONS = {"engine": "vllm", "vllm_args": "enforce_eager=true", "kv_cache_gib": 0.25, "block_size": 32}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The demo's base model on vLLM, with a process that tunes it."""
    folder = tmp_path_factory.mktemp("tuning")
    server_process.START_TIMEOUT_S = 600.0
    options = OPTIONS | {"tuning_python": PYTHON, "tuning_checkpoint_s": 0.5, "tuning_takeover_s": 1.5}
    with ServerProcess(folder / "log", environment=WITHOUT_COMPILER, data_dir=folder / "data", **options) as server:
        assert server.url
        yield server
        print(server.log.read_text()[-3000:])


@pytest.fixture
def client(server):
    """The stock client of the server."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
        yield client


def start(client, file_id, task, **plan):
    """Create a job; its id."""
    job = client.fine_tuning.jobs.create(
        model=BASE_NAME,
        training_file=file_id,
        suffix=task,
        seed=1,
        hyperparameters=plan,
        extra_body={"labels": list(LABELS), "promote": True},
    )
    return job.id


def messages(client, job_id):
    """The log of a job, oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)][::-1]


def no_tuning(client):
    """What `/v1/engine` says."""
    return client.get("/engine", cast_to=object)["no_tuning"]


def process_of(pid):
    """The tuning process of a server."""
    children = [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    (found,) = (int(child) for child in children if b"tuning.process" in Path(f"/proc/{child}/cmdline").read_bytes())
    return found


def is_running(pid):
    """Whether a process is there, and is no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def until(is_so, timeout_s=120):
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_job_goes_on_in_a_new_process_and_its_version_answers_on_vllm(server, client):
    """The first process is killed in the middle. Meanwhile the server answers, and says why it accepts no job."""
    assert no_tuning(client) is None
    rows = examples(1, 340)
    file_id = upload(client, rows[:300])
    job_id = start(client, file_id, NEW_TASK, num_steps=60)
    wait(client, job_id, lambda _: any(message.startswith("Step 6/") for message in messages(client, job_id)))
    os.kill(process_of(server.process.pid), signal.SIGKILL)
    until(lambda: no_tuning(client) is not None)
    assert "the tuning process ended with status -9" in no_tuning(client)
    with pytest.raises(openai.InternalServerError) as refused:
        start(client, file_id, "other")
    assert (refused.value.status_code, refused.value.code) == (503, "not_ready")
    assert client.completions.create(model="sentiment", prompt="What a wonderful little film.").choices[0].text
    job = wait(client, job_id)
    assert (job.status, job.fine_tuned_model, no_tuning(client)) == ("succeeded", f"{NEW_TASK}@1", None), job.error
    (step,) = (found[1] for one in messages(client, job_id) if (found := re.match(r".*checkpoint at step (\d+)", one)))
    assert int(step) > 0
    until(lambda: client.models.retrieve(NEW_TASK))
    assert exact_match(client, NEW_TASK, rows[300:]) > 0.6
    metrics = client.get("/../metrics", cast_to=str)
    assert 'softprompt_tuning_jobs_ended_total{outcome="succeeded"} 1' in metrics


def test_a_job_is_paused_and_resumed(client):
    """By the store, and at once by a word to the process."""
    job_id = start(client, upload(client, examples(2, 100)), "paused", num_steps=2000)
    wait(client, job_id, lambda _: any(message.startswith("Step ") for message in messages(client, job_id)))
    assert client.fine_tuning.jobs.pause(job_id).status == "paused"
    assert client.fine_tuning.jobs.resume(job_id).status == "queued"
    wait(client, job_id, lambda job: job.status == "running")
    assert client.fine_tuning.jobs.cancel(job_id).status == "cancelled"


def test_the_limits_of_vllm_are_those_of_a_plan(client):
    """They are checked at the door, before anything is learnt. Examples can be previewed."""
    with pytest.raises(openai.BadRequestError, match="--max-context"):
        start(client, "file-1", "long", num_virtual_tokens=4096)
    body = {"examples": [{"prompt": "It is fine", "completion": "whisper"}]}
    assert client.post("/fine_tuning/preview", body=body, cast_to=object)["examples"]


def test_the_process_ends_with_a_server_that_is_killed(server):
    """Nothing of it stays."""
    pid = process_of(server.process.pid)
    server.kill()
    until(lambda: not is_running(pid))
