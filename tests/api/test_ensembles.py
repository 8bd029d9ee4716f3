"""Ensembles over HTTP: published by a list, answered by all members as one, refused where one answer cannot be."""

import asyncio
import json
import math
import re

import pytest

from tests.api.conftest import SENTIMENT, error_of, publish
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()
PROMPT = {"model": "sentiment@4", "prompt": "a"}
CHAT = {"model": "sentiment@4", "messages": [{"role": "user", "content": "a"}]}


async def publish_ensemble(client, members, *, task="sentiment", files=None, **fields):
    """Publish an ensemble; the response."""
    members = members if isinstance(members, str) else json.dumps(members)
    parts = {"members": members} | fields
    plain = {name: (None, value) for name, value in parts.items()}
    return await client.post(f"/v1/tasks/{task}/versions", files=plain | (files or {}))


@pytest.fixture
async def members(client):
    """Three versions of a task, of three different soft prompts; their bodies."""
    return [(await publish(client, seed=seed)).json() for seed in range(3)]


@pytest.fixture
async def ensemble(client, members, engine):
    """Version 4: an ensemble of 3, 1 and 2, whose answers `says` holds by version number."""
    response = await publish_ensemble(client, [3, 1, 2])
    assert response.status_code == 201
    number = {version["prefix_digest"]: version["version"] for version in members}
    says = {1: " positive", 2: " positive", 3: " positive"}
    engine.script = lambda request, choice: [
        *TOKENIZER.encode(says[number[request.prefix.digest]]),
        TOKENIZER.eos_token_id,
    ]
    engine.number_of = lambda request: number[request.prefix.digest]
    return says


async def test_an_ensemble_is_published_by_its_list_alone(client, members):
    response = await publish_ensemble(client, [2, 3], promote="true", manifest='{"note": "two seeds"}')
    assert response.status_code == 201
    body = response.json()
    assert response.headers["location"] == "/v1/tasks/sentiment/versions/4"
    assert (body["version"], body["members"], body["promoted"]) == (4, [2, 3], True)
    assert (body["peft_type"], body["prefix_digest"], body["num_virtual_tokens"]) == (None, None, 4)
    assert body["manifest"]["labels"] == SENTIMENT["labels"]
    assert (await publish_ensemble(client, [2, 3])).status_code == 200
    listed = (await client.get("/v1/tasks/sentiment/versions")).json()["data"]
    assert [version["members"] for version in listed] == [[2, 3], [], [], []]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("1, 2", "invalid_value"),
        ('["1", "2"]', "invalid_value"),
        ("[true, 2]", "invalid_value"),
        ("[1.0, 2]", "invalid_value"),
        ("[" * 100_000, "invalid_value"),
        ('{"members": [1, 2]}', "invalid_value"),
        ([1], "invalid_members"),
        ([1, 1], "invalid_members"),
        ([1, 9], "invalid_members"),
        ([1, 10**30], "invalid_members"),
        ([*range(1, 10)], "invalid_members"),
    ],
)
async def test_a_list_that_is_none_is_refused(client, members, given, code):
    response = await publish_ensemble(client, given)
    assert response.status_code == 400
    assert (error_of(response)["code"], error_of(response)["param"]) == (code, "members")


async def test_a_list_beside_files_of_an_unknown_task_or_of_strangers_is_refused(client, members):
    files = {name: (name, data) for name, data in prompt_tuning_files(seed=5).items()}
    assert error_of(await publish_ensemble(client, [1, 2], files=files))["param"] == "members"
    assert error_of(await publish_ensemble(client, [1, 2], task="unknown"))["code"] == "task_not_found"
    await publish(client, seed=7, manifest=SENTIMENT | {"labels": [" yes", " no"]})
    response = await publish_ensemble(client, [1, 4])
    assert response.status_code == 400
    assert "labels" in error_of(response)["message"]


async def test_a_member_is_not_retired_and_has_the_only_checkpoint(client, ensemble):
    response = await client.delete("/v1/tasks/sentiment/versions/2")
    assert (response.status_code, error_of(response)["code"]) == (409, "version_in_use")
    response = await client.get("/v1/tasks/sentiment/versions/4/adapter_config.json")
    assert (response.status_code, error_of(response)["code"]) == (404, "no_checkpoint")
    assert (await client.delete("/v1/tasks/sentiment/versions/4")).status_code == 200
    assert (await client.delete("/v1/tasks/sentiment/versions/2")).status_code == 200


async def test_the_answer_given_most_often_is_the_ensembles(client, ensemble, engine):
    ensemble.update({1: " negative", 2: " negative", 3: " positive"})
    response = await client.post("/v1/completions", json=PROMPT)
    assert response.status_code == 200
    assert [choice["text"] for choice in response.json()["choices"]] == [" negative"]
    assert response.headers["x-softprompt-version"] == "4"
    digest = (await client.get("/v1/tasks/sentiment/versions/4")).json()["digest"]
    assert response.headers["x-softprompt-digest"] == digest
    assert [engine.number_of(request) for request in engine.requests] == [3, 1, 2]
    assert {request.task for request in engine.requests} == {"sentiment"}


@pytest.mark.parametrize(
    ("says", "elected"),
    [
        ({3: "x", 1: "y", 2: "z"}, "x"),  # a tie of all: whom the ensemble lists first
        ({3: "x", 1: "y", 2: "y"}, "y"),
        ({3: "x", 1: "y", 2: "x"}, "x"),
        ({3: "x", 1: "x", 2: "y"}, "x"),
    ],
)
async def test_a_vote_is_decided_the_same_way_each_time(client, ensemble, says, elected):
    ensemble.update(says)
    body = (await client.post("/v1/chat/completions", json=CHAT)).json()
    assert [choice["message"]["content"] for choice in body["choices"]] == [elected]
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_each_prompt_has_a_vote_of_its_own(client, ensemble, engine):
    prompts = [list(TOKENIZER.encode(text)) for text in "ab"]
    answers = {(3, "a"): "x", (1, "a"): "y", (2, "a"): "y", (3, "b"): "x", (1, "b"): "x", (2, "b"): "y"}
    engine.script = lambda request, choice: [
        *TOKENIZER.encode(answers[engine.number_of(request), TOKENIZER.decode(request.prompt_token_ids)]),
        TOKENIZER.eos_token_id,
    ]
    body = {"model": "sentiment@4", "prompt": prompts, "return_token_ids": True}
    choices = (await client.post("/v1/completions", json=body)).json()["choices"]
    assert [choice["text"] for choice in choices] == ["y", "x"]
    assert [choice["prompt_token_ids"] for choice in choices] == prompts
    assert [choice["token_ids"] for choice in choices] == [
        [*TOKENIZER.encode(text), TOKENIZER.eos_token_id] for text in "yx"
    ]


async def test_usage_counts_what_every_member_read_and_wrote(client, ensemble, engine):
    ensemble.update({1: "xyz", 2: "xy", 3: "xy"})
    engine.num_cached_tokens = 2
    one = (await client.post("/v1/completions", json=PROMPT | {"model": "sentiment@2"})).json()["usage"]
    usage = (await client.post("/v1/completions", json=PROMPT)).json()["usage"]
    assert usage["prompt_tokens"] == 3 * one["prompt_tokens"]
    assert usage["completion_tokens"] == 3 + 3 + 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 6, "virtual_tokens": 12}
    body = (await client.post("/v1/classify", json={"model": "sentiment@4", "input": ["a", "b"]})).json()
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 12, "virtual_tokens": 24}


async def test_labels_are_chosen_by_the_mean_of_the_probabilities(client, ensemble, engine):
    """Two weak votes for one label lose against a strong one for the other."""
    sure = {3: 0.99, 1: 0.4, 2: 0.4}
    positive = (*TOKENIZER.encode(" positive"), TOKENIZER.eos_token_id)

    def score(request, continuation):
        share = sure[engine.number_of(request)]
        return math.log(0.5 * (share if continuation == positive else 1 - share))

    engine.score = score
    response = await client.post("/v1/classify", json={"model": "sentiment@4", "input": "a"})
    assert response.headers["x-softprompt-version"] == "4"
    (verdict,) = response.json()["data"]
    assert verdict["label"] == " positive"
    first, second = verdict["probabilities"]
    assert first["probability"] == pytest.approx((0.99 + 0.4 + 0.4) / 3)
    assert second["probability"] == pytest.approx(1 - first["probability"])
    assert first["logprob"] == pytest.approx(math.log(0.5 * (0.99 + 0.4 + 0.4) / 3))


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", PROMPT | {"stream": True}, "stream"),
        ("/v1/completions", PROMPT | {"n": 2}, "n"),
        ("/v1/completions", PROMPT | {"echo": True}, "echo"),
        ("/v1/completions", PROMPT | {"logprobs": 0}, "logprobs"),
        ("/v1/completions", PROMPT | {"max_tokens": 65}, "max_tokens"),
        ("/v1/chat/completions", CHAT | {"stream": True}, "stream"),
        ("/v1/chat/completions", CHAT | {"n": 2}, "n"),
        ("/v1/chat/completions", CHAT | {"logprobs": True}, "logprobs"),
        ("/v1/chat/completions", CHAT | {"max_completion_tokens": 65}, "max_tokens"),
    ],
)
async def test_what_cannot_be_voted_on_is_refused(client, ensemble, engine, path, body, param):
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
    assert "an ensemble" in error_of(response)["message"]
    assert engine.requests == []


async def test_without_a_limit_an_answer_ends_where_votes_end(client, ensemble, engine):
    assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert {request.kind.sampling.max_tokens for request in engine.requests} == {64}
    off = CHAT | {"stream": False, "n": 1, "logprobs": False, "max_tokens": 3}
    assert (await client.post("/v1/chat/completions", json=off)).status_code == 200
    assert engine.requests[-1].kind.sampling.max_tokens == 3


async def test_what_could_never_be_resident_at_once_is_refused_at_the_door(client, ensemble, engine):
    engine.max_prefix_tokens = 11
    for path, body in (
        ("/v1/completions", PROMPT),
        ("/v1/chat/completions", CHAT),
        ("/v1/classify", {"model": "sentiment@4", "input": "a"}),
    ):
        response = await client.post(path, json=body)
        assert (response.status_code, error_of(response)["code"]) == (400, "prefix_too_large")
    assert engine.requests == []
    assert (await client.post("/v1/completions", json=PROMPT | {"model": "sentiment@3"})).status_code == 200


async def test_members_count_against_the_limits_of_a_request(limited, client, ensemble):
    async with limited(max_sequences=5, max_label_scores=5) as small:
        assert (await small.post("/v1/completions", json=PROMPT)).status_code == 200
        response = await small.post("/v1/completions", json=PROMPT | {"prompt": ["a", "b"]})
        assert re.search("ensemble members", error_of(response)["message"])
        response = await small.post("/v1/classify", json={"model": "sentiment@4", "input": "a"})
        assert re.search("ensemble members", error_of(response)["message"])


async def test_a_failing_member_fails_the_answer_and_ends_the_others(client, ensemble, engine):
    engine.fail_after = 1
    response = await client.post("/v1/completions", json=PROMPT)
    assert response.status_code == 500
    async with asyncio.timeout(30):
        while engine.unfinished:
            await asyncio.sleep(0.01)


async def test_an_ensemble_can_be_an_aliass_target_and_its_shadow(client, ensemble, services):
    """As a shadow it is compared like any version."""
    assert (
        await client.put(
            "/v1/tasks/sentiment/aliases/next",
            json={"version": 4, "shadow_of": "production"},
            headers={"if-none-match": "*"},
        )
    ).status_code in (200, 201)
    ensemble.update({1: " positive", 2: " negative", 3: " negative"})
    response = await client.post("/v1/completions", json=PROMPT | {"model": "sentiment"})
    assert response.json()["choices"][0]["text"] == " positive"
    async with asyncio.timeout(30):
        while services.inference.shadows.agreement("sentiment", "production", 4).num_compared == 0:
            await asyncio.sleep(0.01)
    assert services.inference.shadows.agreement("sentiment", "production", 4).num_agreed == 0
