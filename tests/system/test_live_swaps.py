"""Versions change while requests run: no error, no mixture, no stale answer."""

from __future__ import annotations

import json
import threading

import httpx
import pytest

from tests.devices import NAME
from tests.system.live_server import LiveServer, checkpoint, live_server, publish, tiny_base

NUM_SWAPS = 1_000
PROMPT = "the quick brown fox"
MANIFEST = {"defaults": {"temperature": 0, "max_tokens": 6, "ignore_eos": True}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swaps")
    base = tiny_base(folder / "base")
    with live_server(base_model=str(base), data_dir=folder / "data", num_kv_blocks=400, device=NAME) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def complete(client: httpx.Client, model: str, **changes) -> httpx.Response:
    response = client.post("/v1/completions", json={"model": model, "prompt": PROMPT, **changes})
    assert response.status_code == 200, response.text
    return response


def set_production(client: httpx.Client, task: str, version: int) -> None:
    url = f"/v1/tasks/{task}/aliases/production"
    etag = client.get(url).headers["etag"]
    response = client.put(url, json={"version": version}, headers={"if-match": etag})
    assert response.status_code == 200, response.text


def test_1000_swaps_under_load(server: LiveServer, client: httpx.Client) -> None:
    """Every answer is that of the version its header names, and no request fails."""
    answers = {}
    for version in (1, 2, 3):
        published = publish(
            client, "swapped", checkpoint(seed=version, num_virtual_tokens=3 + version), manifest=MANIFEST
        )
        alone = complete(client, f"swapped@{version}")
        assert alone.headers["x-softprompt-digest"] == published["digest"]
        answers[published["digest"]] = alone.json()["choices"][0]["text"]
    assert len(set(answers.values())) == 3, "the versions were meant to answer differently"
    stop, failures, seen = threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            while not stop.is_set():
                response = own.post("/v1/completions", json={"model": "swapped", "prompt": PROMPT})
                digest = response.headers.get("x-softprompt-digest")
                if response.status_code != 200 or response.json()["choices"][0]["text"] != answers[digest]:
                    failures.append(response.text)
                seen.append(digest)

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for index in range(NUM_SWAPS):
            set_production(client, "swapped", 1 + index % 3)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert not failures
    assert set(seen) == set(answers), "every version was meant to be asked"
    server.idle_stats()


def test_a_running_stream_stays_on_its_version(client: httpx.Client) -> None:
    """An alias that moves mid-stream never alters the stream; the very next request gets the new version."""
    for version in (1, 2):
        publish(client, "streamed", checkpoint(seed=10 + version), manifest=MANIFEST)
    long = {"max_tokens": 300}
    old = complete(client, "streamed@1", **long).json()["choices"][0]["text"]
    new = complete(client, "streamed@2", **long).json()["choices"][0]["text"]
    assert old != new
    set_production(client, "streamed", 1)
    request = {"model": "streamed", "prompt": PROMPT, "stream": True, **long}
    pieces = []
    with client.stream("POST", "/v1/completions", json=request) as stream:
        assert stream.headers["x-softprompt-version"] == "1"
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                pieces.append(json.loads(line.removeprefix("data: "))["choices"][0]["text"])
            if len(pieces) == 3:
                set_production(client, "streamed", 2)
                after = complete(client, "streamed", **long)
                assert after.headers["x-softprompt-version"] == "2"
                assert after.json()["choices"][0]["text"] == new
    assert "".join(pieces) == old


def test_a_retired_version_finishes_what_runs(client: httpx.Client) -> None:
    """A stream outlives the retirement of its version; the version then is not found."""
    for version in (1, 2):
        publish(client, "retired", checkpoint(seed=20 + version), manifest=MANIFEST)
    whole = complete(client, "retired@1", max_tokens=200).json()["choices"][0]["text"]
    set_production(client, "retired", 2)
    request = {"model": "retired@1", "prompt": PROMPT, "stream": True, "max_tokens": 200}
    text = ""
    with client.stream("POST", "/v1/completions", json=request) as stream:
        for index, line in enumerate(stream.iter_lines()):
            if line.startswith("data: {"):
                text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
            if index == 0:
                assert client.delete("/v1/tasks/retired/versions/1").status_code in (200, 204)
    assert text == whole
    gone = client.post("/v1/completions", json={"model": "retired@1", "prompt": PROMPT})
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "version_not_found"
