"""The server on two tensor-parallel ranks with captures at promotion, and vLLM's processes after the server's death."""

from __future__ import annotations

import time

import httpx
import pytest

import tests.system.server_process as server_process
from tests.system.live_server import live_server, publish
from tests.system.server_process import ServerProcess
from tests.vllm.environment import WITHOUT_COMPILER
from tests.vllm.processes import descendants, kill_a_worker, named, those_left
from tests.vllm.test_server import EXPECTED, GREEDY, complete, prefix_checkpoint, random_checkpoint, text_of

START_TIMEOUT_S = 600.0
OPTIONS = {
    "engine": "vllm",
    "vllm_args": "enforce_eager=true tensor_parallel_size=2",
    "kv_cache_gib": 0.25,
    "block_size": 32,
}
CHECKPOINTS = {
    "short": random_checkpoint(90, 5),
    "long": random_checkpoint(91, 40),
    "filed": prefix_checkpoint(92, 12),
    "filed-long": prefix_checkpoint(93, 33),
}
PROMPTS = ["the quick brown fox", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the database is."""
    server_process.START_TIMEOUT_S = START_TIMEOUT_S
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def answers(folder):
    """Those of our engine to each soft prompt and text. It fills the database."""
    with live_server(data_dir=folder / "data") as own, httpx.Client(base_url=own.url, timeout=120) as client:
        for task, files in CHECKPOINTS.items():
            publish(client, task, files, manifest=GREEDY)
        return {(task, prompt): text_of(complete(client, task, prompt)) for task in CHECKPOINTS for prompt in PROMPTS}


@pytest.fixture(scope="module")
def server(folder, answers):
    """Two ranks over the same database."""
    environment = WITHOUT_COMPILER | {"SOFTPROMPT_CAPTURE_ON_PROMOTE": "true"}
    began = time.monotonic()
    with ServerProcess(folder / "log", environment=environment, **OPTIONS, data_dir=folder / "data") as server:
        assert server.url
        print(f"two ranks are ready after {time.monotonic() - began:.1f} s")
        yield server
        print(server.log.read_text()[-1500:])


@pytest.fixture
def client(server):
    """A client of the server."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def captured(client):
    """The tasks whose soft prompts are ready."""
    return {one["task"] for one in client.get("/v1/engine").json()["soft_prompts"]}


def wait_for_captures(client, tasks):
    """Return once the soft prompts of these tasks are ready, without a request for them."""
    end = time.monotonic() + 60
    while not (ready := captured(client)) >= tasks:
        assert time.monotonic() < end, f"missing: {tasks - ready}"
        time.sleep(0.1)


def test_the_proof_passes_and_live_versions_are_captured(server, client):
    """Those of the database, before any request."""
    assert "proof at start passed" in server.log.read_text()
    assert len(named(descendants(server.process.pid), "Worker")) == 2
    wait_for_captures(client, {*CHECKPOINTS, *(task for task, _, _ in EXPECTED)})


def test_two_ranks_answer_as_our_engine(client, answers):
    """Captured and written soft prompts, and the demo's."""
    found = {(task, prompt): text_of(complete(client, task, prompt)) for task, prompt in answers}
    assert found == answers
    assert len(set(answers.values())) == len(answers)
    for task, prompt, answer in EXPECTED:
        assert text_of(complete(client, task, prompt)).strip() == answer


def test_a_publication_is_captured_before_its_first_request(client, answers):
    """Its first request finds it: nothing is loaded for it."""
    publish(client, "ahead", random_checkpoint(94, 6), manifest=GREEDY)
    wait_for_captures(client, {"ahead"})
    loads = client.get("/v1/engine").json()["counters"]["prefix_loads"]
    assert text_of(complete(client, "ahead")) not in answers.values()
    assert client.get("/v1/engine").json()["counters"]["prefix_loads"] == loads


def test_a_killed_worker_ends_the_server(server):
    """One rank of two."""
    kill_a_worker(server)


def test_vllms_processes_end_with_a_killed_server(folder):
    """Nobody tells them: the server has no time to."""
    with ServerProcess(
        folder / "killed.log", environment=WITHOUT_COMPILER, **OPTIONS, data_dir=folder / "data"
    ) as server:
        assert server.url
        processes = descendants(server.process.pid)
        assert len(named(processes, "EngineCore")) == 1 and len(named(processes, "Worker")) == 2, processes
        server.kill()
        began = time.monotonic()
        assert not those_left(processes, within_s=30)
        print(f"{len(processes)} processes ended {time.monotonic() - began:.1f} s after the server's death")
