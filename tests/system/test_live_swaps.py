"""Versions change while requests run: no error, no mixture, no stale answer."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.system.live_server import LiveServer, checkpoint, publish
from tests.system.live_swaps import MANIFEST, PROMPT, complete, set_production, swap_server, swap_under_load

NUM_SWAPS = 100
"""1,000 in `make replica-test`."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with swap_server(tmp_path_factory.mktemp("swaps")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_100_swaps_under_load(server: LiveServer, client: httpx.Client) -> None:
    """Every answer is that of the version its header names, and no request fails."""
    swap_under_load(server, client, NUM_SWAPS)


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
