"""The demo model with weights of fewer bits behind HTTP: what it says of itself, answers, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from server.app import build_services, create_app
from server.engine_choice import NO_TUNING_ON_WEIGHTS
from server.model.cpu.quantise_model import FORMS
from server.settings import ServeSettings
from tests.devices import IS_CPU

pytestmark = pytest.mark.skipif(not IS_CPU, reason="weights of fewer bits are for a CPU")

TEXTS = ["The food was cold and the waiter was rude", "I loved this film", "Best purchase ever", "waste of money"]


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module")
def services(form, tmp_path_factory):
    """The parts of a server of the demo's tasks."""
    return build_services(ServeSettings(weights=form, data_dir=tmp_path_factory.mktemp("data"), num_kv_blocks=200))


@pytest.fixture(scope="module")
def client(services):
    with TestClient(create_app(services), base_url="http://localhost") as client:
        yield client


def complete(client, task, text):
    body = {"model": task, "prompt": text, "temperature": 0, "max_tokens": 12, "logprobs": 2}
    (choice,) = client.post("/v1/completions", json=body).raise_for_status().json()["choices"]
    return choice["text"], choice["logprobs"]["token_logprobs"]


def test_the_version_says_how_the_weights_are_served(client, services, form):
    """The fingerprint is that of the stored weights, so the tasks of the base are there."""
    base = client.get("/version").json()["base_model"]
    assert (base["weights"], base["fingerprint"]) == (form, services.store_access.fingerprint)
    assert "sentiment" in {model["id"] for model in client.get("/v1/models").json()["data"]}


def test_soft_prompts_tuned_on_float32_answer(client):
    """Their keys and values are computed by the base that serves."""
    answers = [complete(client, "sentiment", text)[0] for text in TEXTS]
    assert answers == ["negative", "positive", "positive", "negative"]
    assert complete(client, "date-iso", "the 4th of July 1976")[0] == "1976-07-04"


def test_a_request_alone_is_the_request_among_others(client):
    """Rows are multiplied one by one: log-probabilities agree as closely as attention does."""
    alone = [complete(client, "sentiment", text) for text in TEXTS]
    with ThreadPoolExecutor(16) as pool:
        crowd = list(pool.map(lambda text: complete(client, "sentiment", text), TEXTS * 4))
    for number, (text, logprobs) in enumerate(crowd):
        assert text == alone[number % 4][0]
        assert logprobs == pytest.approx(alone[number % 4][1], abs=1e-4)


def test_tuning_is_refused_with_the_reason(client, form):
    """On the route and in the engine's state, which the page reads."""
    refused = NO_TUNING_ON_WEIGHTS.format(form)
    job = {"model": "softprompt-demo", "training_file": "file-1"}
    answer = client.post("/v1/fine_tuning/jobs", json=job)
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, refused)
    assert client.get("/v1/engine").json()["no_tuning"] == refused
