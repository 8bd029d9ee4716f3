"""An ensemble of the whole product answers by what its members answer alone, all of them in one batch."""

from __future__ import annotations

import json
from collections import Counter

import httpx
import pytest

from tests.system.live_server import checkpoint, live_server, publish, tiny_base

LABELS = ["red", "green", "blue"]
MANIFEST = {"labels": LABELS, "defaults": {"temperature": 0, "max_tokens": 3}}
TEXTS = ["a word", "two words", "something else", "the last one", "one more"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a task of five members of different lengths, and an ensemble of all."""
    folder = tmp_path_factory.mktemp("ensemble")
    settings = {"num_kv_blocks": 64, "max_prefix_share": 0.11, "device": "cpu"}  # 7 blocks of 16 for prefixes
    base = str(tiny_base(folder / "base"))
    with (
        live_server(base_model=base, data_dir=folder / "data", **settings) as live,
        httpx.Client(base_url=live.url, timeout=60) as client,
    ):
        for seed in range(5):
            publish(client, "colour", checkpoint(seed, num_virtual_tokens=3 + seed), manifest=MANIFEST)
        parts = {"members": (None, json.dumps([4, 2, 5, 1, 3])), "promote": (None, "true")}
        assert client.post("/v1/tasks/colour/versions", files=parts).status_code == 201
        yield live, client


def test_the_vote_is_that_of_the_members_alone(server):
    live, client = server
    for text in TEXTS:
        alone = {
            number: client.post("/v1/completions", json={"model": f"colour@{number}", "prompt": text}).json()
            for number in (4, 2, 5, 1, 3)
        }
        texts = [answer["choices"][0]["text"] for answer in alone.values()]
        together = client.post("/v1/completions", json={"model": "colour", "prompt": text})
        assert together.headers["x-softprompt-version"] == "6"
        assert together.json()["choices"][0]["text"] == Counter(texts).most_common(1)[0][0]
        for count in ("prompt_tokens", "completion_tokens"):
            assert together.json()["usage"][count] == sum(answer["usage"][count] for answer in alone.values())
    stats = live.idle_stats()
    assert stats.num_leases == 0


def test_the_probabilities_are_the_mean_of_the_members_alone(server):
    _, client = server
    body = {"input": TEXTS}
    alone = [client.post("/v1/classify", json=body | {"model": f"colour@{number}"}).json() for number in range(1, 6)]
    together = client.post("/v1/classify", json=body | {"model": "colour"}).json()
    for index, verdict in enumerate(together["data"]):
        for label in range(len(LABELS)):
            mean = sum(one["data"][index]["probabilities"][label]["probability"] for one in alone) / len(alone)
            assert verdict["probabilities"][label]["probability"] == pytest.approx(mean, abs=1e-5)


def test_an_ensemble_that_never_fits_is_refused_and_others_are_not(server):
    """Seven blocks of prefixes fit, and eight do not, though each of the eight does alone."""
    _, client = server
    for seed in range(10, 18):
        publish(client, "wide", checkpoint(seed, num_virtual_tokens=16), manifest=MANIFEST)
    for members in ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8]):
        parts = {"members": (None, json.dumps(members))}
        assert client.post("/v1/tasks/wide/versions", files=parts).status_code == 201
    fits = client.post("/v1/completions", json={"model": "wide@9", "prompt": "a"})
    assert fits.status_code == 200
    refused = client.post("/v1/completions", json={"model": "wide@10", "prompt": "a"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "prefix_too_large")
