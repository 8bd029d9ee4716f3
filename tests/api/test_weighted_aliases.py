"""Aliases of several versions over HTTP: setting them, their history, and who is answered by which version."""

import pytest

from prompts_store.manifest import Manifest
from tests.api.conftest import error_of, publish
from tests.fakes.checkpoints import classifying_checkpoint

URL = "/v1/tasks/sentiment/aliases/production"
HALVES = [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]
ANY = {"If-Match": "*"}


@pytest.fixture
async def task(client):
    """A task with two versions, the first in production."""
    await publish(client)
    await publish(client, seed=1)


async def test_an_alias_names_several_versions(client, task):
    """The answer shows its targets, and the one of the highest weight as its version."""
    targets = [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]
    response = await client.put(URL, json={"targets": targets[::-1], "reason": "canary"}, headers=ANY)
    alias = response.json()
    assert response.status_code == 200, alias
    assert (alias["version"], alias["targets"], alias["reason"]) == (1, targets, "canary")
    assert (await client.get(URL)).json() == alias
    back = (await client.post(f"{URL}/rollback", json={"reason": "errors"})).json()
    assert (back["targets"], back["reason"]) == ([{"version": 1, "weight": 1}], "errors")
    history = (await client.get(f"{URL}/history")).json()["data"]
    assert [(move["reason"], move["from_targets"], move["to_targets"]) for move in history[:2]] == [
        ("errors", targets, [{"version": 1, "weight": 1}]),
        ("canary", [{"version": 1, "weight": 1}], targets),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4}),
        ("/v1/classify", {"input": "a"}),
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
async def test_a_sticky_key_is_always_answered_by_the_same_version(client, task, path, body):
    """The headers name the version; without a key it is now this, now that one."""
    await client.put(URL, json={"targets": HALVES}, headers=ANY)

    async def version(key):
        headers = {} if key is None else {"x-softprompt-sticky-key": key}
        response = await client.post(path, json=body | {"model": "sentiment"}, headers=headers)
        assert response.status_code == 200, response.text
        return response.headers["x-softprompt-version"]

    keyed = {f"user-{number}": await version(f"user-{number}") for number in range(16)}
    assert set(keyed.values()) == {"1", "2"}
    assert {key: await version(key) for key in keyed} == keyed
    assert {await version(None) for _ in range(24)} == {"1", "2"}


@pytest.mark.parametrize("key", ["", "x" * 257])
async def test_a_sticky_key_has_its_length(client, task, key):
    """The error names the header and does not repeat the key."""
    headers = {"x-softprompt-sticky-key": key}
    response = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a"}, headers=headers)
    assert (response.status_code, error_of(response)["param"]) == (400, "x-softprompt-sticky-key")
    assert "xxx" not in response.text


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "version"),
        ({"version": 1, "targets": HALVES}, 400, "targets"),
        ({"targets": []}, 400, "targets"),
        ({"targets": [{"version": 1}]}, 400, "targets[0].weight"),
        ({"targets": [{"version": 1, "weight": 0}]}, 400, "targets[0].weight"),
        ({"targets": [HALVES[0], HALVES[0]]}, 400, "targets"),
        ({"targets": HALVES, "shadow_of": "canary"}, 400, "targets"),
        ({"version": 1, "shadow_of": "production"}, 400, "targets"),
        ({"version": 1, "reason": "x" * 2000}, 400, "reason"),
        ({"targets": [{"version": 9, "weight": 1}]}, 404, None),
    ],
)
async def test_what_an_alias_cannot_be_is_refused(client, task, body, status, param):
    """By the parameter at fault; the alias stays where it is."""
    response = await client.put(URL, json=body, headers=ANY)
    assert (response.status_code, error_of(response)["param"]) == (status, param)
    assert (await client.get(URL)).json()["targets"] == [{"version": 1, "weight": 1}]


@pytest.mark.parametrize(
    ("url", "condition"), [(URL, ANY), ("/v1/tasks/sentiment/aliases/canary", {"If-None-Match": "*"})]
)
async def test_versions_of_different_task_types_share_no_alias(client, task, store, url, condition):
    """Callers of one name would get texts now and classes then. A move to one version of another type is accepted."""
    store.publish("sentiment", classifying_checkpoint(), Manifest())
    body = {"targets": [HALVES[0], {"version": 3, "weight": 50}]}
    response = await client.put(url, json=body, headers=condition)
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_targets", "targets")
    assert error["message"] == (
        "Version 1 is for text generation and version 3 for SEQ_CLS; the versions of one alias have one task type."
    )
    assert (await client.put(url, json={"version": 3}, headers=condition)).json()["version"] == 3


async def test_an_alias_has_one_shadow(client, task):
    """A second one is a conflict."""
    shadow = {"version": 2, "shadow_of": "production"}
    url = "/v1/tasks/sentiment/aliases"
    first = await client.put(f"{url}/next", json=shadow, headers={"If-None-Match": "*"})
    assert first.json()["shadow_of"] == "production"
    second = await client.put(f"{url}/other", json=shadow, headers={"If-None-Match": "*"})
    assert (second.status_code, error_of(second)["code"]) == (409, "shadow_exists")


async def test_a_move_and_its_reason_in_the_history_outlive_the_alias(client, task):
    """A deletion has a reason too."""
    url = "/v1/tasks/sentiment/aliases/canary"
    await client.put(url, json={"version": 2}, headers={"If-None-Match": "*"})
    assert (await client.delete(url, params={"reason": "done"})).status_code == 204
    history = (await client.get(f"{url}/history")).json()["data"]
    assert [(move["to_version"], move["reason"]) for move in history] == [(None, "done"), (2, "")]
