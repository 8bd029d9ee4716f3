import json

import pytest
from safetensors.numpy import load

from server.tuning.kept_runs import KeptRuns
from tests.api.conftest import SENTIMENT, client_of, error_of, publish
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.services import with_parts


async def test_a_task_lives_and_dies(client):
    """Created, read, listed, deleted; afterwards its name is unknown."""
    response = await client.post("/v1/tasks", json={"name": "sentiment", "description": "good or bad"})
    assert (response.status_code, response.headers["location"]) == (201, "/v1/tasks/sentiment")
    task = response.json()
    assert task["object"] == "task"
    assert (task["latest_version"], task["production_version"]) == (None, None)
    assert (await client.get("/v1/tasks/sentiment")).json() == task
    assert (await client.get("/v1/tasks")).json() == {"object": "list", "data": [task], "has_more": False}
    assert (await client.delete("/v1/tasks/sentiment")).status_code == 204
    response = await client.get("/v1/tasks/sentiment")
    assert (response.status_code, error_of(response)["code"]) == (404, "task_not_found")


async def test_a_purge_says_what_it_removed(client):
    """Also for a task that was deleted before; afterwards there is nothing left of it."""
    await publish(client)
    await publish(client, seed=1)
    assert (await client.delete("/v1/tasks/sentiment")).status_code == 204
    response = await client.delete("/v1/tasks/sentiment", params={"purge": "true"})
    body = response.json()
    assert (response.status_code, body["object"]) == (200, "task.purged")
    assert (body["num_versions"], body["num_tensors"], body["log_is_clear"]) == (2, 2, True)
    assert (await publish(client)).json()["version"] == 3
    response = await client.delete("/v1/tasks/never", params={"purge": "true"})
    assert (response.status_code, error_of(response)["code"]) == (404, "task_not_found")


async def test_a_purge_removes_interrupted_runs_in_the_data_folder(services, tmp_path):
    """Those of `softprompt tune` on the server's machine: their states hold traces of the training data."""
    kept = KeptRuns(tmp_path, services.store_access.fingerprint)
    kept.of("sentiment", "0" * 64).write(b"state")
    async with client_of(with_parts(services, kept_runs=kept)) as client:
        await publish(client)
        response = await client.delete("/v1/tasks/sentiment", params={"purge": "true"})
        assert response.json()["num_interrupted_runs"] == 1
        response = await client.delete("/v1/tasks/sentiment", params={"purge": "true"})
        assert response.json()["num_interrupted_runs"] == 0
    assert list(tmp_path.glob("tuning/**/*.*")) == []


async def test_lists_come_in_pages(client):
    """Each page says whether more follow."""
    for name in ("a", "b", "c"):
        await client.post("/v1/tasks", json={"name": name})
    first = (await client.get("/v1/tasks", params={"limit": 2})).json()
    assert ([task["name"] for task in first["data"]], first["has_more"]) == (["a", "b"], True)
    second = (await client.get("/v1/tasks", params={"limit": 2, "after": "b"})).json()
    assert ([task["name"] for task in second["data"]], second["has_more"]) == (["c"], False)
    for seed in range(3):
        await publish(client, "a", seed=seed)
    page = (await client.get("/v1/tasks/a/versions", params={"limit": 1, "before": 3})).json()
    assert ([version["version"] for version in page["data"]], page["has_more"]) == ([2], True)


async def test_a_name_can_be_taken_only_once(client):
    """And never that of the base model."""
    await client.post("/v1/tasks", json={"name": "sentiment"})
    response = await client.post("/v1/tasks", json={"name": "sentiment"})
    assert (response.status_code, error_of(response)["code"]) == (409, "task_exists")
    response = await client.post("/v1/tasks", json={"name": "tiny-base"})
    assert (response.status_code, error_of(response)["code"]) == (409, "name_reserved")
    assert (await publish(client, "tiny-base")).status_code == 409


async def test_a_publish_makes_a_version_and_its_task(client):
    """The first becomes `production`; the same content again is answered with the same version."""
    response = await publish(client)
    assert (response.status_code, response.headers["location"]) == (201, "/v1/tasks/sentiment/versions/1")
    body = response.json()
    assert (body["task"], body["version"], body["created"], body["promoted"]) == ("sentiment", 1, True, True)
    assert (body["peft_type"], body["num_virtual_tokens"]) == ("PROMPT_TUNING", 4)
    assert body["manifest"]["template"] == SENTIMENT["template"]
    assert len(body["digest"]) == len(body["prefix_digest"]) == 64
    again = await publish(client)
    assert (again.status_code, again.json()["version"], again.json()["created"]) == (200, 1, False)
    second = (await publish(client, seed=1)).json()
    assert (second["version"], second["promoted"]) == (2, False)
    third = (await publish(client, seed=2, promote=True)).json()
    assert (third["version"], third["promoted"]) == (3, True)
    version = (await client.get("/v1/tasks/sentiment/versions/3")).json()
    assert version == {name: third[name] for name in version}
    assert (await client.get("/v1/tasks/sentiment")).json()["production_version"] == 3


async def test_a_version_downloads_as_the_checkpoint_it_was(client):
    """Tensor for tensor; publishing the download again makes nothing new."""
    files = prompt_tuning_files()
    await publish(client)
    config = await client.get("/v1/tasks/sentiment/versions/1/adapter_config.json")
    tensors = await client.get("/v1/tasks/sentiment/versions/1/adapter_model.safetensors")
    assert config.headers["content-type"] == "application/json"
    assert tensors.headers["content-type"] == "application/octet-stream"
    assert json.loads(config.content) == json.loads(files["adapter_config"])
    expected, got = load(files["adapter_model"]), load(tensors.content)
    assert got.keys() == expected.keys()
    assert all((got[name] == expected[name]).all() for name in expected)
    again = await publish(client, adapter_config=config.content, adapter_model=tensors.content)
    assert again.json()["created"] is False


async def test_a_version_retires_unless_an_alias_names_it(client):
    """A retired one is no longer found."""
    await publish(client)
    await publish(client, seed=1)
    response = await client.delete("/v1/tasks/sentiment/versions/1")
    assert (response.status_code, error_of(response)["code"]) == (409, "version_in_use")
    assert (await client.delete("/v1/tasks/sentiment/versions/2")).json()["retired_at"]
    response = await client.get("/v1/tasks/sentiment/versions/2")
    assert (response.status_code, error_of(response)["code"]) == (404, "version_not_found")
    response = await client.post("/v1/completions", json={"model": "sentiment@2", "prompt": "a"})
    assert (response.status_code, error_of(response)["code"]) == (404, "version_not_found")


async def test_an_alias_moves_only_from_where_the_caller_believes_it_to_be(client):
    """Compare-and-swap by ETag; to create, by its absence."""
    await publish(client)
    await publish(client, seed=1)
    url = "/v1/tasks/sentiment/aliases/canary"
    response = await client.put(url, json={"version": 1})
    assert (response.status_code, error_of(response)["code"]) == (428, "precondition_required")
    created = await client.put(url, json={"version": 1}, headers={"If-None-Match": "*"})
    assert (created.status_code, created.json()["version"]) == (200, 1)
    assert (await client.put(url, json={"version": 1}, headers={"If-None-Match": "*"})).status_code == 412
    moved = await client.put(url, json={"version": 2}, headers={"If-Match": created.headers["etag"]})
    assert moved.json()["version"] == 2
    assert moved.headers["etag"] == (await client.get(url)).headers["etag"] != created.headers["etag"]
    stale = await client.put(url, json={"version": 1}, headers={"If-Match": created.headers["etag"]})
    assert (stale.status_code, error_of(stale)["code"]) == (412, "precondition_failed")
    assert (await client.put(url, json={"version": 1}, headers={"If-Match": "*"})).status_code == 200
    response = await client.put(url, json={"version": 9}, headers={"If-Match": "*"})
    assert (response.status_code, error_of(response)["code"]) == (404, "version_not_found")
    for condition in ("unquoted", 'W/"weak"', '"a", "b"'):
        response = await client.put(url, json={"version": 1}, headers={"If-Match": condition})
        assert (response.status_code, error_of(response)["param"]) == (400, "if-match")
    names = [alias["alias"] for alias in (await client.get("/v1/tasks/sentiment/aliases")).json()["data"]]
    assert names == ["canary", "production"]
    assert (await client.delete(url, headers={"If-Match": '"wrong"'})).status_code == 412
    assert (await client.delete(url)).status_code == 204
    assert error_of(await client.get(url))["code"] == "alias_not_found"


async def test_an_alias_has_a_history_and_goes_back(client, engine):
    """The very next request is answered by where it went."""
    await publish(client)
    await publish(client, seed=1, promote=True)
    url = "/v1/tasks/sentiment/aliases/production"
    response = await client.post(f"{url}/rollback")
    assert (response.json()["version"], bool(response.headers["etag"])) == (1, True)
    answer = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a"})
    assert answer.headers["x-softprompt-version"] == "1"
    history = (await client.get(f"{url}/history")).json()["data"]
    assert [(move["from_version"], move["to_version"]) for move in history] == [(2, 1), (1, 2), (None, 1)]
    assert {move["moved_by"] for move in history} == {"anonymous"}


@pytest.mark.parametrize(
    ("files", "manifest", "status", "code", "param"),
    [
        ({"peft_type": "LORA"}, {}, 400, "unsupported_peft_type", "adapter_config"),
        ({"token_dim": 16}, {}, 400, "shape_mismatch", "adapter_config"),
        ({"base_model_name_or_path": "other/model"}, {}, 400, "base_mismatch", "adapter_config"),
        ({"adapter_config": b"not json"}, {}, 400, "malformed_config", "adapter_config"),
        ({"adapter_model": b"\x80\x04pickle"}, {}, 400, "malformed_tensors", "adapter_model"),
        ({}, {"template": "no placeholder"}, 400, "invalid_manifest", "manifest.template"),
        ({}, {"defaults": {"temperature": 9}}, 400, "invalid_manifest", "manifest.defaults.temperature"),
        ({}, {"unknown": 1}, 400, "invalid_manifest", "manifest"),
        ({}, {"allow_base_mismatch": "yes"}, 400, "invalid_value", "manifest.allow_base_mismatch"),
    ],
)
async def test_a_bad_checkpoint_is_refused_by_name(client, files, manifest, status, code, param):
    """Nothing of it is stored."""
    parts = {name: value for name, value in files.items() if isinstance(value, bytes)}
    changes = {name: value for name, value in files.items() if not isinstance(value, bytes)}
    response = await publish(client, manifest=manifest, **(prompt_tuning_files(**changes) | parts))
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert (await client.get("/v1/tasks")).json()["data"] == []


async def test_another_base_is_accepted_where_the_publisher_says_so(client):
    """And only then."""
    files = prompt_tuning_files(base_model_name_or_path="other/model")
    response = await publish(client, manifest={"allow_base_mismatch": True}, **files)
    assert (response.status_code, response.json()["base_model_name"]) == (201, "other/model")


@pytest.mark.parametrize("name", ["tiny/base-model/", "./tiny-base", "hub/models--tiny--base-model/snapshots/0123abc"])
async def test_the_base_is_known_by_its_name_in_another_spelling(client, name):
    """In a checkpoint, which keeps the name as it was, and in a request."""
    files = prompt_tuning_files(base_model_name_or_path=name)
    response = await publish(client, **files)
    assert (response.status_code, response.json()["base_model_name"]) == (201, name)
    answer = await client.post("/v1/completions", json={"model": name, "prompt": "a"})
    assert (answer.status_code, "x-softprompt-task" in answer.headers) == (200, False)


async def test_another_base_is_refused_with_both_names_and_the_ways_out(client):
    """No file of the server is looked up for it: a folder that exists here is as foreign as any."""
    for name in ("/content/model/", "/etc"):
        response = await publish(client, **prompt_tuning_files(base_model_name_or_path=name))
        message = error_of(response)["message"]
        assert response.status_code == 400
        assert all(part in message for part in (name, "tiny/base-model", "allow_base_mismatch", "--base-name"))


FILES = {name: (name, data) for name, data in prompt_tuning_files().items()}


@pytest.mark.parametrize(
    ("files", "data", "param"),
    [
        ({"adapter_config": FILES["adapter_config"]}, {}, "adapter_model"),
        (FILES, {"manifest": "[]"}, "manifest"),
        (FILES, {"manifest": "{"}, "manifest"),
        (FILES, {"manifest": '{"note": NaN}'}, "manifest"),
        (FILES, {"promote": "perhaps"}, "promote"),
        (FILES, {"unknown": "x"}, None),
        ({**FILES, "archive": ("a.zip", b"PK")}, {}, None),
        ({"adapter_config": FILES["adapter_config"], "manifest": ("m", b"{}")}, {}, "manifest"),
        ([("adapter_config", FILES["adapter_config"])] * 2, {}, None),
    ],
)
async def test_an_upload_has_exactly_its_parts(client, files, data, param):
    """Two files and two fields, each at most once."""
    response = await client.post("/v1/tasks/sentiment/versions", files=files, data=data)
    error = error_of(response)
    assert (response.status_code, error["param"]) == (400, param)
    assert "zip" not in error["message"]


async def test_an_upload_that_is_not_multipart_is_415(client):
    """Neither JSON nor a form will do."""
    for options in ({"json": {}}, {"data": {"manifest": "{}"}}):
        response = await client.post("/v1/tasks/sentiment/versions", **options)
        assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_media_type")
