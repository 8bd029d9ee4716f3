"""Every route that the OpenAPI document names, without the key it needs: denied, whatever else is in the request.

vLLM CVE-2026-48746, Starlette CVE-2026-48710, LiteLLM CVE-2026-49468: default-deny by the route's own declaration.
"""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from prompts_store.keys import KeyGrant
from server.api.access.key_ring import KeyRing
from tests.api.conftest import client_of, error_of, publish
from tests.fakes import openapi
from tests.fakes.services import with_parts

SCOPES = ["infer", "tasks:read", "tasks:write", "tune", "admin"]
PUBLIC = {"GET /health", "GET /ready"}
FILTERED = {"GET /v1/models", "GET /v1/tasks"}
"""Lists, that answer a key held to tasks with those tasks."""
SUMMED_UP = {"GET /v1/engine"}
"""Answers a key held to tasks with those tasks' names alone: tests/api/test_engine_state.py."""
OF_NO_TASK = {
    "GET /version",
    "GET /v1/keys",
    "POST /v1/keys",
    "DELETE /v1/keys/{key_name}",
    "GET /v1/audit",
    "GET /v1/keys/self",
    "POST /v1/files",
    "GET /v1/files",
    "GET /v1/files/{file_id}",
    "GET /v1/files/{file_id}/content",
    "DELETE /v1/files/{file_id}",
    "POST /v1/batches",
    "GET /v1/batches",
    "GET /v1/batches/{batch_id}",
    "POST /v1/batches/{batch_id}/cancel",
}
"""Whether a key is held to tasks makes no difference to these. Lines of batches are checked one by one."""

OF_ANY_KEY = {"GET /v1/keys/self"}
"""Routes that need a key, whatever its scopes."""

DOCUMENT = openapi.document()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
GUARDED = sorted(set(OPERATIONS) - PUBLIC)
SCOPED = sorted(set(GUARDED) - OF_ANY_KEY)
PLACES = {
    "task": "secret", "alias": "production", "version": "1", "model_id": "secret", "key_name": "victim",
    "job_id": "ftjob-1", "file_id": "file-1", "batch_id": "batch-1",
}  # fmt: skip


class Clock:
    """Says what time it is."""

    now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ring(services, clock):
    return KeyRing(services.store_access.store, "admin-secret", now=clock)


@pytest.fixture
async def guarded(services, ring):
    """A server with two tasks; who asks without a key of their own is nobody."""
    async with client_of(with_parts(services, keys=ring)) as http:
        for task in ("secret", "allowed"):
            response = await publish(http, task, headers={"authorization": "Bearer admin-secret"})
            assert response.status_code == 201
        yield http


@pytest.fixture
def key(services, ring, guarded):
    """Makes keys that the server knows at once; the header in which they are sent."""

    async def make(*scopes, **more):
        created = services.store_access.store.create_key(KeyGrant(f"key-{uuid.uuid4().hex}", frozenset(scopes), **more))
        await services.store_access.follower.refresh()
        assert ring.identify(created.secret).scopes == set(scopes)
        return {"authorization": f"Bearer {created.secret}"}

    return make


async def send(http, operation, headers):
    """A request that nothing but the key stands against, as far as the document says what one is."""
    schema = OPERATIONS[operation].get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    body = {} if schema is None else {"json": example(schema)}
    return await http.request(operation.split()[0], path_of(operation), headers=headers, **body)


def path_of(operation):
    """The path with a value for each parameter."""
    path = operation.split()[1]
    for name, value in PLACES.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, "a new path parameter needs a value in PLACES"
    return path


def example(schema):
    """A plain value of a schema: required properties only; `model` and the name of a task are a task of the store."""
    if "$ref" in schema:
        return example(DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    for choices in ("anyOf", "oneOf", "allOf"):
        if choices in schema:
            return example(schema[choices][0])
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return {
            name: "secret" if name in ("model", "name") else example(properties[name])
            for name in schema.get("required", ())
        }
    if schema.get("type") == "array":
        return [example(schema["items"])] * schema.get("minItems", 1)
    return {"string": "a", "integer": int(schema.get("minimum", 1)), "number": 1.0, "boolean": False}.get(
        schema.get("type")
    )


def needed_by(operation):
    """The scopes of which an operation needs one."""
    return set(OPERATIONS[operation]["x-scope"].split(" or "))


def test_every_operation_names_its_scope():
    """So the tests below mean all of them."""
    assert {operation: detail["x-scope"] for operation, detail in OPERATIONS.items() if operation in PUBLIC} == (
        dict.fromkeys(PUBLIC, "public")
    )
    assert {operation for operation in GUARDED if OPERATIONS[operation]["x-scope"] == "any"} == OF_ANY_KEY
    assert set().union(*(needed_by(operation) for operation in SCOPED)) <= set(SCOPES)


@pytest.mark.parametrize("operation", GUARDED)
async def test_no_key_a_wrong_one_a_revoked_and_an_expired_one_are_denied(
    guarded, services, ring, engine, key, clock, operation
):
    """All alike: nobody learns which of them it was."""
    revoked = await key("admin")
    services.store_access.store.revoke_key(services.store_access.store.list_keys()[0].name)
    expired = await key("admin", expires_at=clock.now + timedelta(hours=1))
    clock.now += timedelta(hours=1)
    bodies = set()
    for headers in ({}, {"authorization": "Bearer sp-wrong"}, revoked, expired):
        response = await send(guarded, operation, headers)
        assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")
        bodies.add(response.text)
    assert len(bodies) == 1
    assert not engine.requests


WITH_BODY = sorted(name for name in GUARDED if "requestBody" in OPERATIONS[name])


@pytest.mark.parametrize("operation", WITH_BODY)
async def test_a_stranger_is_denied_before_the_body_is_read(guarded, key, operation):
    """Headers are enough, for a wrong key as for one without the scope: the body need never come."""
    headers = {"content-type": "application/json"}
    of_no_use = await key(next(scope for scope in SCOPES if scope not in needed_by(operation)))
    for credentials, status in (({"authorization": "Bearer sp-wrong"}, 401), (of_no_use, 403)):
        response = await guarded.request(
            operation.split()[0], path_of(operation), headers=headers | credentials, content=never_sent()
        )
        assert response.status_code == status


async def never_sent():
    """A body whose first byte is not to be waited for."""
    pytest.fail("the body was read")
    yield b""


@pytest.mark.parametrize("operation", SCOPED)
async def test_every_scope_but_the_one_needed_is_denied(guarded, engine, key, operation):
    """One by one and all together; the one needed, and `admin`, are let in."""
    needed = needed_by(operation)
    lower = set(SCOPES) - needed - {"admin"}
    for scopes in [*({scope} for scope in lower), lower]:
        response = await send(guarded, operation, await key(*scopes))
        assert (response.status_code, error_of(response)["code"]) == (403, "insufficient_scope")
    assert not engine.requests
    for scope in needed | {"admin"}:
        assert (await send(guarded, operation, await key(scope))).status_code not in (401, 403)


HELD = sorted(
    name for name in set(GUARDED) - FILTERED - SUMMED_UP - OF_NO_TASK if OPERATIONS[name]["x-scope"] != "tune"
)
"""A key that may tune cannot be held to tasks."""


@pytest.mark.parametrize("operation", HELD)
async def test_another_task_is_denied(guarded, engine, key, operation):
    """By the path, by `model`, or by the name of what is to be made. A new route is here, or is listed above."""
    held = await key("infer", "tasks:read", "tasks:write", tasks=("allowed",))
    response = await send(guarded, operation, held)
    assert (response.status_code, error_of(response)["code"]) == (403, "task_not_allowed")
    assert not engine.requests


@pytest.mark.parametrize("operation", sorted(FILTERED))
async def test_lists_leave_other_tasks_out(guarded, key, operation):
    """As if they were not there."""
    held = await key("infer", "tasks:read", tasks=("allowed",))
    listed = (await send(guarded, operation, held)).json()["data"]
    assert [item.get("name", item.get("id")) for item in listed] == ["allowed"]
