import math

import pytest

from server.engine.errors import EngineOverloaded
from tests.api.conftest import error_of, publish
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
END = TOKENIZER.eos_token_id
TASK = {"model": "sentiment", "input": "What a film."}


async def test_every_label_is_scored_as_a_whole_answer(client, engine):
    """One request an input: the prompt once, and each label's own tokens with the end token behind it."""
    await publish(client)
    scores = {(*TOKENIZER.encode(" positive"), END): -1.0, (*TOKENIZER.encode(" negative"), END): -2.0}
    engine.score = lambda request, continuation: scores[continuation]
    engine.num_cached_tokens = 2
    response = await client.post("/v1/classify", json=TASK)
    (request,) = engine.requests
    assert request.kind.continuations == tuple(scores)
    assert TOKENIZER.decode(request.prompt_token_ids) == " What a film. ->"
    assert (request.task, request.prefix.num_virtual_tokens) == ("sentiment", 4)
    body = response.json()
    (verdict,) = body["data"]
    assert (verdict["index"], verdict["label"]) == (0, " positive")
    total = math.exp(-1) + math.exp(-2)
    assert [entry["label"] for entry in verdict["probabilities"]] == [" positive", " negative"]
    assert [entry["logprob"] for entry in verdict["probabilities"]] == [-1.0, -2.0]
    assert [entry["probability"] for entry in verdict["probabilities"]] == pytest.approx(
        [math.exp(-1) / total, math.exp(-2) / total]
    )
    num_prompt = len(request.prompt_token_ids)
    assert body["usage"] == {
        "prompt_tokens": num_prompt,
        "completion_tokens": 0,
        "total_tokens": num_prompt,
        "prompt_tokens_details": {"cached_tokens": 2, "virtual_tokens": 4},
    }
    assert response.headers["x-softprompt-version"] == "1"


async def test_several_inputs_are_answered_in_their_order(client, engine):
    """The request's labels go before the version's."""
    await publish(client)
    engine.score = lambda request, continuation: -float(len(request.prompt_token_ids) * len(continuation))
    response = await client.post("/v1/classify", json=TASK | {"input": ["a", "b", "c"], "labels": [" yes", " no!"]})
    assert [verdict["index"] for verdict in response.json()["data"]] == [0, 1, 2]
    assert {entry["label"] for entry in response.json()["data"][0]["probabilities"]} == {" yes", " no!"}
    assert len(engine.requests) == 3


async def test_the_base_model_classifies_too(client):
    """It has no labels of its own."""
    body = {"model": "tiny-base", "input": "a"}
    assert error_of(await client.post("/v1/classify", json=body))["param"] == "labels"
    assert (await client.post("/v1/classify", json=body | {"labels": ["x", "y"]})).status_code == 200


async def test_very_unlikely_labels_still_have_probabilities(client, engine):
    """The softmax does not underflow."""
    engine.score = lambda request, continuation: -5_000.0 - len(continuation)
    body = {"model": "tiny-base", "input": "a", "labels": ["x", "something else"]}
    (verdict,) = (await client.post("/v1/classify", json=body)).json()["data"]
    assert sum(entry["probability"] for entry in verdict["probabilities"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"labels": []}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": ["a", ""]}, "labels"),
        ({"labels": ["a"] * 1001}, "labels"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 65}, "input"),
        ({"input": 5}, "input"),
        ({"input": "a", "labels": ["l" * 300, "b"]}, "labels"),
        ({"input": ["a"] * 64, "labels": [str(number) for number in range(65)]}, "labels"),
    ],
)
async def test_bad_labels_and_inputs_are_refused(client, engine, change, param):
    """By name, and before anything runs."""
    response = await client.post("/v1/classify", json={"model": "tiny-base", "input": "a", "labels": ["a"]} | change)
    assert (response.status_code, error_of(response)["param"]) == (400, param)
    assert not engine.requests


async def test_failures_are_answered_like_everywhere(client, engine):
    """A failed score is a 500, a full queue a 429."""
    body = {"model": "tiny-base", "input": ["a", "b"], "labels": ["x", "y"]}
    engine.fail_after = 0
    response = await client.post("/v1/classify", json=body)
    assert (response.status_code, error_of(response)["code"]) == (500, "engine_failed")
    engine.refuse = EngineOverloaded("full")
    assert (await client.post("/v1/classify", json=body)).status_code == 429
