"""Half of a surrogate pair: valid in JSON, in no text. It is the caller's mistake wherever it stands."""

from __future__ import annotations

import json

import pytest

from server.api.wire.bodies import _may_hold_half_pair
from tests.api.conftest import SENTIMENT, error_of, publish

HALF = "\\ud800"
BODIES = {
    "/v1/completions": [
        ("prompt", f'{{"model": "sentiment", "prompt": "{HALF}"}}'),
        ("prompt", f'{{"model": "sentiment", "prompt": ["fine", "{HALF}"]}}'),
        ("stop", f'{{"model": "sentiment", "prompt": "x", "stop": ["{HALF}"]}}'),
        ("user", f'{{"model": "sentiment", "prompt": "x", "user": "{HALF}"}}'),
        ("model", f'{{"model": "{HALF}", "prompt": "x"}}'),
    ],
    "/v1/chat/completions": [
        ("messages", f'{{"model": "sentiment", "messages": [{{"role": "user", "content": "{HALF}"}}]}}'),
    ],
    "/v1/classify": [
        ("input", f'{{"model": "sentiment", "input": ["{HALF}"]}}'),
        ("labels", f'{{"model": "sentiment", "input": "x", "labels": ["a", "{HALF}"]}}'),
    ],
    "/tokenize": [("prompt", f'{{"model": "sentiment", "prompt": "{HALF}"}}')],
    "/v1/tasks": [("description", f'{{"name": "other", "description": "{HALF}"}}')],
}


@pytest.mark.parametrize(
    ("route", "param", "body"), [(route, *case) for route, cases in BODIES.items() for case in cases]
)
async def test_in_a_body(client, route, param, body):
    await publish(client)
    response = await client.post(route, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert error_of(response)["param"].startswith(param)


@pytest.mark.parametrize("half", ["\ud800", "\udbff", "\udc00", "\udfff"])
def test_the_quick_search_finds_every_half(half):
    """The characters around the halves are none."""
    assert not _may_hold_half_pair({"a": ["\u00e9 \u6f22 \U0001f600 \ud7ff \ue000", 1, 0.5, None]})
    for value in (half, f"x{half}y", ["a", {"b": half}], {"a": [{half: 1}]}, (1, half)):
        assert _may_hold_half_pair(value)


def test_what_is_nested_too_deeply_for_the_quick_search_is_searched():
    """The quick search has a bound of its own."""
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    assert _may_hold_half_pair(deep)


@pytest.mark.parametrize("manifest", [{"metrics": {"a": "\ud800"}}, {"metrics": {"\ud800": 1}}, {"note": "\ud800"}])
async def test_in_a_manifest_nothing_is_kept(client, manifest):
    """Neither the version nor its task is there afterwards, and the list can be read."""
    response = await publish(client, manifest=SENTIMENT | manifest)
    assert response.status_code == 400, response.text
    assert error_of(response)["param"].startswith("manifest")
    assert (await client.get("/v1/tasks")).json()["data"] == []


async def test_in_a_configuration(client):
    response = await publish(client, adapter_config=b'{"peft_type": "PROMPT_TUNING", "revision": "\\ud800"}')
    assert response.status_code == 400, response.text
    assert error_of(response)["param"] == "adapter_config"


async def test_by_way_of_a_charset(client):
    """A form may name a charset of its own for its fields."""
    boundary = "b"
    part = f'--{boundary}\r\ncontent-disposition: form-data; name="manifest"\r\n\r\n{{"note": "\\ud800"}}\r\n'
    content = f"{part}--{boundary}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; charset=unicode_escape; boundary={boundary}"}
    response = await client.post("/v1/tasks/sentiment/versions", content=content, headers=headers)
    assert response.status_code == 400, response.text
    error_of(response)


def test_the_bodies_above_are_json():
    assert all(json.loads(body) for cases in BODIES.values() for _, body in cases)
