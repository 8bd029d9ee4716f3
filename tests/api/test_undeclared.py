"""What a request says beside its body is known to its route, or refused by name: nothing is ignored without a word."""

import pytest

from tests.api.conftest import error_of, publish
from tests.fakes import openapi

OPERATIONS = [
    (method.upper(), path.format_map({
        "task": "sentiment", "alias": "production", "version": "1", "model_id": "sentiment", "key_name": "victim",
        "job_id": "ftjob-1", "file_id": "file-1", "batch_id": "batch-1",
    }))
    for path, methods in openapi.document()["paths"].items()
    for method in methods
]  # fmt: skip
PROBED = [("GET", path) for path in ("/health", "/ready", "/metrics", "/version")]
PROMPT = {"model": "sentiment", "prompt": "a"}
CHAT = {"model": "sentiment", "messages": [{"role": "user", "content": "a"}]}


async def test_an_unknown_query_parameter_is_refused_by_every_route(client, engine):
    """Before the body is looked at, so none is needed here."""
    await publish(client)
    for method, path in set(OPERATIONS) - set(PROBED):
        response = await client.request(method, path, params={"limt": "5"})
        found = (response.status_code, error_of(response)["code"], error_of(response)["param"])
        assert found == (400, "unknown_parameter", "limt"), (method, path)
    assert not engine.requests
    assert (await client.get("/v1/tasks/sentiment/versions/1")).status_code == 200


@pytest.mark.parametrize(("method", "path"), [*PROBED, ("GET", "/docs"), ("GET", "/openapi.json")])
async def test_probes_and_pages_may_say_anything(client, method, path):
    """Monitors and browsers append what makes an address new to a cache; there is nothing that could be meant."""
    assert (await client.request(method, path, params={"_": "1700000000"})).status_code == 200


async def test_the_refusal_names_what_there_is(client):
    response = await client.get("/v1/tasks", params={"limit": 5, "offset": 5})
    assert error_of(response)["message"] == "unknown query parameter: 'offset'; this route takes limit, after"
    response = await client.get("/v1/models", params={"limit": 5})
    assert error_of(response)["message"] == "unknown query parameter: 'limit'; this route takes none"


@pytest.mark.parametrize("name", ["a b", "é", "x" * 200, "", "a\n"])
async def test_a_name_that_is_no_plain_one_is_not_repeated(client, name):
    response = await client.get("/v1/tasks", params={name: "5"})
    assert response.status_code == 400
    assert error_of(response)["param"] is None
    assert error_of(response)["message"].startswith("unknown query parameter; this route takes")


async def test_a_parameter_that_comes_twice_is_refused(client):
    """One of the two would be ignored."""
    response = await client.get("/v1/tasks?limit=1&limit=2")
    assert (response.status_code, error_of(response)["param"]) == (400, "limit")
    assert "more than once" in error_of(response)["message"]


async def test_what_a_parameter_would_have_done_is_not_done(client):
    """`promote` belongs into the body of a publication."""
    await publish(client)
    assert (await client.delete("/v1/tasks/sentiment?purge=true&dry_run=true")).status_code == 400
    assert (await client.get("/v1/tasks/sentiment")).status_code == 200


@pytest.mark.parametrize("name", ["x-softprompt-stickykey", "X-Softprompt-Version", "x-softprompt-task"])
@pytest.mark.parametrize(("path", "body"), [("/v1/completions", PROMPT), ("/v1/chat/completions", CHAT)])
async def test_a_header_of_ours_that_there_is_not_is_refused(client, engine, name, path, body):
    """Such as one that an answer has, which chooses nothing in a request."""
    await publish(client)
    response = await client.post(path, json=body, headers={name: "1"})
    assert (response.status_code, error_of(response)["code"]) == (400, "unknown_parameter")
    assert error_of(response)["param"] == name.lower()
    assert not engine.requests


@pytest.mark.parametrize("name", ["x-softprompt-sticky-key", "x-request-timeout-ms"])
async def test_a_header_of_ours_that_comes_twice_is_refused(client, engine, name):
    await publish(client)
    response = await client.post("/v1/completions", json=PROMPT, headers=[(name, "1000"), (name, "2000")])
    assert (response.status_code, error_of(response)["param"]) == (400, name)
    assert not engine.requests


async def test_a_clients_own_header_for_every_request_is_let_pass(client):
    """A sticky key that is set for all requests is no fault where it has no meaning; nor are others' headers."""
    headers = {"x-softprompt-sticky-key": "ann", "x-stainless-lang": "python", "x-request-timeout": "5"}
    for method, path in OPERATIONS:
        response = await client.request(method, path, headers=headers)
        assert "unknown_parameter" not in response.text, (method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/tasks/sentiment/aliases/production/rollback"), ("DELETE", "/v1/tasks/sentiment")],
)
async def test_a_condition_that_is_not_looked_at_is_refused(client, method, path):
    """What should only be done if nobody was faster is not done regardless."""
    await publish(client)
    response = await client.request(method, path, headers={"if-match": '"stale"'})
    assert (response.status_code, error_of(response)["param"]) == (400, "if-match")
    assert (await client.get("/v1/tasks/sentiment")).status_code == 200
