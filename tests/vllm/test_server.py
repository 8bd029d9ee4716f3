"""The whole server on vLLM's engine: what the README shows, versions that move under load, and faults.

`SOFTPROMPT_SWAPS` is the number of moves under load (100; the long form has 1,000).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from safetensors.numpy import save

import tests.system.server_process as server_process
from tests.system.asking import Address
from tests.system.live_server import checkpoint, publish
from tests.system.server_process import ServerProcess
from tests.vllm.environment import WITHOUT_COMPILER
from tests.vllm.processes import kill_a_worker

NUM_SWAPS = int(os.environ.get("SOFTPROMPT_SWAPS", "100"))
HIDDEN_SIZE, NUM_LAYERS, NUM_HEADS, HEAD_DIM = 256, 5, 8, 32
BLOCK_BYTES = 32 * NUM_LAYERS * 2 * NUM_HEADS * HEAD_DIM * 4
NUM_KEPT = 20
GREEDY = {"defaults": {"temperature": 0, "max_tokens": 8, "ignore_eos": True}}
PROMPT = "the quick brown fox"
EXPECTED = [
    ("sentiment", "What a wonderful little film.", "positive"),
    ("sentiment", "The food was cold and the waiter was rude", "negative"),
    ("date-iso", "March 5, 2021", "2021-03-05"),
    ("date-iso", "July 4th, 1976", "1976-07-04"),
]
START_TIMEOUT_S = 600.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The demo's base model, with room for twenty soft prompts of one block."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "tmp").mkdir()
    server_process.START_TIMEOUT_S = START_TIMEOUT_S
    options = {
        "engine": "vllm",
        "vllm_args": "enforce_eager=true",
        "vllm_prefix_gib": NUM_KEPT * BLOCK_BYTES / 1024**3,
        "kv_cache_gib": 0.25,
        "block_size": 32,
        "data_dir": folder / "data",
    }
    environment = WITHOUT_COMPILER | {"TMPDIR": str(folder / "tmp")}
    with ServerProcess(folder / "log", environment=environment, **options) as server:
        assert server.url
        yield server
        print(server.log.read_text()[-1500:])


@pytest.fixture(scope="module")
def many(server):
    """The names of two hundred tasks, each with a soft prompt of its own."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        for number in range(200):
            publish(client, f"many-{number}", random_checkpoint(number, 12), manifest=GREEDY)
    return [f"many-{number}" for number in range(200)]


@pytest.fixture
def client(server):
    """A client of the server."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def complete(client, model, prompt=PROMPT, **changes):
    """A completion that succeeds."""
    response = client.post("/v1/completions", json={"model": model, "prompt": prompt, **changes})
    assert response.status_code == 200, response.text
    return response


def text_of(response):
    """The text of the first choice."""
    return response.json()["choices"][0]["text"]


def random_checkpoint(seed, num_virtual_tokens=4):
    """A checkpoint of prompt tuning for the demo's base model."""
    return checkpoint(seed, num_virtual_tokens, HIDDEN_SIZE)


def prefix_checkpoint(seed, num_virtual_tokens=4):
    """A checkpoint of prefix tuning for the demo's base model."""
    shape = (num_virtual_tokens, NUM_LAYERS * 2 * NUM_HEADS * HEAD_DIM)
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    config = {
        "peft_type": "PREFIX_TUNING",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": num_virtual_tokens,
        "num_layers": NUM_LAYERS,
        "num_attention_heads": NUM_HEADS,
        "token_dim": HIDDEN_SIZE,
        "prefix_projection": False,
    }
    return {"adapter_config": json.dumps(config).encode(), "adapter_model": save({"prompt_embeddings": rows})}


@pytest.mark.parametrize(("task", "prompt", "answer"), EXPECTED)
def test_the_curls_of_the_readme(server, task, prompt, answer):
    """By curl itself: the demo's soft prompts answer as on our engine."""
    body = json.dumps({"model": task, "prompt": prompt})
    command = ["curl", "-s", f"{server.url}/v1/completions", "-H", "content-type: application/json", "-d", body]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    assert found["choices"][0]["text"].strip() == answer
    assert found["usage"]["prompt_tokens_details"]["virtual_tokens"] > 0


def test_labels_are_scored(client):
    """Classification has the label and probabilities of all."""
    body = {"model": "sentiment", "input": ["The soup was cold and the waiter rude.", "I love it"]}
    results = client.post("/v1/classify", json=body).json()
    labels = [one["label"] for one in results["data"]]
    assert labels == ["negative", "positive"], results


def test_the_stock_client(server):
    """Completions, several choices, a stream, and the models."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as stock:
        task = {"model": "sentiment", "prompt": "What a wonderful little film."}
        answer = stock.completions.create(**task, n=2, logprobs=2)
        assert [choice.text.strip() for choice in answer.choices] == ["positive"] * 2
        pieces = [choice.text for chunk in stock.completions.create(**task, stream=True) for choice in chunk.choices]
        assert "".join(pieces).strip() == "positive"
        assert "sentiment" in {model.id for model in stock.models.list()}


def test_a_version_is_published_moved_and_rolled_back(client):
    """Live, with a canary in between; every answer is that of the version which the header names."""
    alone = {}
    for number in (1, 2):
        version = publish(client, "canary", random_checkpoint(50 + number), manifest=GREEDY, promote=number == 1)
        alone[version["digest"]] = text_of(complete(client, f"canary@{number}"))
    assert len(set(alone.values())) == 2
    url = "/v1/tasks/canary/aliases/production"

    def move(body):
        etag = client.get(url).headers["etag"]
        response = client.put(url, json=body, headers={"if-match": etag})
        assert response.status_code == 200, response.text

    def versions(number):
        found = [complete(client, "canary") for _ in range(number)]
        assert all(text_of(one) == alone[one.headers["x-softprompt-digest"]] for one in found)
        return {one.headers["x-softprompt-version"] for one in found}

    assert versions(2) == {"1"}
    move({"targets": [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]})
    assert versions(30) == {"1", "2"}
    move({"version": 2})
    assert versions(2) == {"2"}
    assert client.post(f"{url}/rollback").status_code == 200
    assert versions(10) == {"1", "2"}, "back to the canary"


def test_moves_under_load(server):
    """No request fails, and each answer is that of the version which it names, in streams too."""
    began = time.monotonic()
    asked = Address(server.url, HIDDEN_SIZE, first_seed=4).swap(NUM_SWAPS, pause_s=0)
    print(f"{NUM_SWAPS} moves, {len(asked)} answers, none wrong, {time.monotonic() - began:.0f} s")
    assert len(asked) > 10


def test_what_is_off_says_so(client):
    """Tuning, and log-probabilities of a prompt behind a soft prompt."""
    state = client.get("/v1/engine").json()
    assert state["engine"] == "vllm" and "--engine own" in state["no_tuning"]
    assert sum(holder["blocks"] for holder in state["kv_blocks"]["holders"]) == state["kv_blocks"]["total"]
    body = {"model": "demo", "training_file": "file-1"}
    assert "--engine own" in client.post("/v1/fine_tuning/jobs", json=body).json()["error"]["message"]
    echo = {"model": "sentiment", "prompt": PROMPT, "echo": True, "logprobs": 1}
    refused = client.post("/v1/completions", json=echo)
    assert refused.status_code == 400 and "--engine vllm" in refused.json()["error"]["message"]


def test_an_echo_is_computed_where_it_can_be(client):
    """Of a text without a soft prompt with log-probabilities, behind one without."""
    base = client.get("/version").json()["base_model"]["id"]
    plain = complete(client, base, echo=True, logprobs=1, max_tokens=2).json()["choices"][0]
    assert plain["text"].startswith(PROMPT) and len(plain["logprobs"]["tokens"]) > 2
    assert "So good" in text_of(complete(client, "sentiment", "So good", echo=True))


def test_metrics_of_both(client):
    """vLLM's own beside the server's."""
    metrics = client.get("/metrics").text
    assert "\nvllm:" in metrics
    assert "\nsoftprompt_" in metrics


def test_a_client_that_leaves_during_a_capture_harms_nobody(server, client):
    """The next request of the version is answered right."""
    publish(client, "left", random_checkpoint(70, 40), manifest=GREEDY)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/v1/completions",
            json={"model": "left", "prompt": PROMPT, "max_tokens": 300},
            timeout=httpx.Timeout(5.0, read=0.001),
        )
    first = text_of(complete(client, "left"))
    assert first == text_of(complete(client, "left"))
    publish(client, "stayed", random_checkpoint(70, 40), manifest=GREEDY)
    assert first == text_of(complete(client, "stayed"))


def test_two_hundred_tasks_with_room_for_twenty(server, many):
    """Asked by sixteen callers at once, each is answered as before and as alone."""

    def ask(task):
        with httpx.Client(base_url=server.url, timeout=300) as own:
            return text_of(complete(own, task))

    with ThreadPoolExecutor(16) as callers:
        first = list(callers.map(ask, many))
        again = list(callers.map(ask, many))
    assert first == again
    assert len(set(first)) > 30
    assert list(map(ask, many[::40])) == first[::40]


def test_a_corrupt_prefix_file_gives_no_wrong_answer(client, server, many):
    """The file of a soft prompt is damaged, and the workers have dropped what they read of it."""
    publish(client, "filed", prefix_checkpoint(5), manifest=GREEDY)
    answer = text_of(complete(client, "filed"))
    (path,) = Path(server.log.parent / "tmp").glob("softprompt-vllm-*/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-64:] = bytes(64)
    path.write_bytes(content)
    for task in many[: 2 * NUM_KEPT]:
        complete(client, task)
    assert text_of(complete(client, "filed")) == answer


def test_a_killed_worker_ends_the_server(server):
    """`/health` tells it, then the process ends for its supervisor, and nothing of it stays."""
    kill_a_worker(server)
