"""Keys over HTTP: made, listed, revoked; who did what; and how a server follows them."""

import json

import pytest

from server.api.access.key_ring import KeyRing
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.services import with_parts

ADMIN = {"authorization": "Bearer admin-secret"}


@pytest.fixture
async def admin(services):
    """A client with the admin key of a server that has one."""
    async with client_of(with_parts(services, keys=KeyRing(services.store_access.store, "admin-secret"))) as http:
        http.headers.update(ADMIN)
        yield http


async def create(client, name="ci", scopes=("infer",), **more):
    response = await client.post("/v1/keys", json={"name": name, "scopes": list(scopes), **more})
    assert response.status_code == 201, response.text
    return response.json()


def bearer(key):
    return {"authorization": f"Bearer {key['key']}"}


async def test_a_key_is_shown_once_and_opens_what_it_says(admin):
    """The list has everything but the key."""
    key = await create(admin, expires_at="2999-01-01T00:00:00+02:00", max_concurrent=3, salt="team")
    assert key["created_by"] == "admin-key"
    (listed,) = (await admin.get("/v1/keys")).json()["data"]
    assert listed == {name: value for name, value in key.items() if name != "key"}
    body = {"model": "tiny-base", "prompt": "a"}
    assert (await admin.post("/v1/completions", json=body, headers=bearer(key))).status_code == 200
    refused = await admin.get("/v1/tasks", headers=bearer(key))
    assert (refused.status_code, error_of(refused)["code"]) == (403, "insufficient_scope")


async def test_a_caller_learns_their_own_rights(admin):
    """With the limits that hold for them."""
    key = await create(admin, scopes=("infer",), tasks=["sentiment"], max_concurrent=3)
    own = (await admin.get("/v1/keys/self", headers=bearer(key))).json()
    limits = {"max_requests_per_minute": None, "max_tokens_per_minute": None, "max_concurrent": 3}
    assert own == {
        "object": "key.self", "name": "key:ci", "scopes": ["infer"], "tasks": ["sentiment"], "expires_at": None,
        "limits": limits,
    }  # fmt: skip
    assert (await admin.get("/v1/keys/self")).json()["name"] == "admin-key"


async def test_without_keys_a_caller_is_anonymous(client):
    """And may do everything."""
    own = (await client.get("/v1/keys/self")).json()
    assert (own["name"], "admin" in own["scopes"], own["tasks"]) == ("anonymous", True, None)


async def test_a_revoked_key_is_refused_at_once_and_its_name_is_gone(admin):
    """On this server with the answer."""
    key = await create(admin)
    revoked = await admin.delete("/v1/keys/ci")
    assert revoked.json()["revoked_by"] == "admin-key"
    assert (await admin.get("/v1/models", headers=bearer(key))).status_code == 401
    again = await admin.post("/v1/keys", json={"name": "ci", "scopes": ["infer"]})
    assert (again.status_code, error_of(again)["code"]) == (409, "key_exists")
    assert error_of(await admin.delete("/v1/keys/nobody"))["code"] == "key_not_found"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": "Two Words"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["public"]}, "scopes[0]"),
        ({"tasks": ["a"], "scopes": ["admin"]}, "tasks"),
        ({"tasks": ["../x"]}, None),
        ({"expires_at": "2000-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"best_priority": -101}, "best_priority"),
        ({"key": "mine"}, "key"),
        ({"sha256": "0" * 64}, "sha256"),
    ],
    ids=str,
)
async def test_what_no_key_can_be_is_refused(admin, change, param):
    """And nothing is made. Nobody chooses a key: the server draws it."""
    response = await admin.post("/v1/keys", json={"name": "ci", "scopes": ["infer"], **change})
    assert (response.status_code, error_of(response)["param"]) == (400, param)
    assert (await admin.get("/v1/keys")).json()["data"] == []


async def test_a_key_that_is_held_to_tasks_sees_no_others(admin):
    """Neither in lists, nor by name, nor the bare base model; what does not exist is refused the same."""
    for task in ("sentiment", "secret"):
        assert (await publish(admin, task)).status_code == 201
    key = bearer(await create(admin, scopes=("infer", "tasks:read", "tasks:write"), tasks=["sentiment", "new"]))
    assert [task["name"] for task in (await admin.get("/v1/tasks", headers=key)).json()["data"]] == ["sentiment"]
    assert [model["id"] for model in (await admin.get("/v1/models", headers=key)).json()["data"]] == ["sentiment"]
    assert (await admin.get("/v1/models/sentiment@1", headers=key)).status_code == 200
    for model in ("secret", "secret@1", "missing", "tiny-base"):
        response = await admin.post("/v1/completions", json={"model": model, "prompt": "a"}, headers=key)
        assert (response.status_code, error_of(response)["code"]) == (403, "task_not_allowed")
    response = await admin.post("/tokenize", json={"prompt": "a"}, headers=key)  # without a model: the base model
    assert (response.status_code, error_of(response)["code"]) == (403, "task_not_allowed")
    assert (await admin.post("/v1/tasks", json={"name": "new"}, headers=key)).status_code == 201
    assert (await admin.post("/v1/tasks", json={"name": "newer"}, headers=key)).status_code == 403


async def test_the_audit_log_names_the_key_that_did_it(admin):
    """Who, what and when, newest first."""
    key = bearer(await create(admin, scopes=("tasks:write",)))
    await admin.post("/v1/tasks/mood/versions", headers=key, **_checkpoint())
    log = (await admin.get("/v1/audit")).json()["data"]
    assert [(entry["kind"], entry["task"], entry["key"], entry["changed_by"]) for entry in log] == [
        ("alias_moved", "mood", None, "key:ci"),
        ("version_published", "mood", None, "key:ci"),
        ("task_created", "mood", None, "key:ci"),
        ("key_created", None, "ci", "admin-key"),
    ]
    page = (await admin.get("/v1/audit", params={"limit": 1, "before": log[1]["id"]})).json()
    assert (page["data"], page["has_more"]) == ([log[2]], True)


async def test_the_first_key_closes_a_server_that_was_open(client, services):
    """And revoking the last one does not open it again."""
    key = await create(client, name="root", scopes=("admin",))
    assert key["created_by"] == "anonymous"
    assert (await client.get("/v1/models")).status_code == 401
    assert (await client.delete("/v1/keys/root", headers=bearer(key))).status_code == 200
    assert (await client.get("/v1/models")).status_code == 401
    assert not KeyRing(services.store_access.store).is_open


def _checkpoint():
    files = {name: (name, data) for name, data in prompt_tuning_files().items()}
    return {"files": files, "data": {"manifest": json.dumps({})}}
