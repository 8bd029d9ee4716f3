"""Forms of answers on the wire: what reaches the engine, and what is refused."""

from __future__ import annotations

import json

import pytest

from server.structured_outputs.errors import CompilerBusy
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.services import with_parts

SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}, "required": ["b"]}
CHAT = {"model": "tiny-base", "messages": [{"role": "user", "content": "a"}]}
COMPLETION = {"model": "tiny-base", "prompt": "a"}
BODIES = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETION}


def as_format(schema):
    """OpenAI's shape of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "one", "schema": schema, "strict": True}}


async def asked(client, engine, body, path="/v1/completions"):
    """The form that the engine got with a body."""
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    constraint = engine.requests[-1].kind.constraint
    return None if constraint is None else constraint.constraint


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("field", "form", "source"),
    [
        ({"response_format": as_format(SCHEMA)}, "json", SCHEMA),
        ({"response_format": {"type": "json_object"}}, "json", {"type": "object"}),
        ({"structured_outputs": {"json": SCHEMA}}, "json", SCHEMA),
        ({"structured_outputs": {"json": json.dumps(SCHEMA), "regex": None}}, "json", SCHEMA),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "choice", ["a", "b"]),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, "grammar", 'start: "a"'),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_form_reaches_the_engine(client, engine, path, field, form, source):
    """By either name, on both routes; a schema keeps the order of its properties."""
    got = await asked(client, engine, BODIES[path] | field, path)
    assert got.form == form
    assert (json.loads(got.source) if form in ("json", "choice") else got.source) == source
    if source == SCHEMA:
        assert list(json.loads(got.source)["properties"]) == ["b", "a"]


@pytest.mark.parametrize(
    "field",
    [
        {"response_format": {"type": "text"}},
        {"response_format": None, "structured_outputs": None},
        {"structured_outputs": {}},
        {"structured_outputs": {"json": None, "disable_fallback": True, "json_object": False}},
    ],
    ids=str,
)
async def test_what_asks_for_nothing_is_free_text(client, engine, field):
    """Stock clients send these by default."""
    assert await asked(client, engine, COMPLETION | field) is None


@pytest.mark.parametrize(
    ("field", "param", "words"),
    [
        ({"response_format": as_format({"not": {}})}, "response_format.json_schema.schema", "'not'"),
        (
            {"structured_outputs": {"json": {"properties": {"a": {"items": {"contains": {}}}}}}},
            "structured_outputs.json",
            "at /properties/a/items: 'contains'",
        ),
        ({"structured_outputs": {"regex": "(?=a)a"}}, "structured_outputs.regex", "look-around"),
        ({"structured_outputs": {"regex": "a", "json": {}}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "list of texts"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json", "not JSON"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "grammar"),
        ({"structured_outputs": {"schema": {}}}, "structured_outputs.schema", "unknown parameter"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs.regex",
            "only one",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format", "needed"),
        ({"guided_json": SCHEMA}, "guided_json", "structured_outputs with json"),
        ({"guided_choice": ["a"]}, "guided_choice", "structured_outputs with choice"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_form_that_cannot_be_kept_is_refused_by_name(client, field, param, words):
    """With its place in the body, and what is wrong."""
    response = await client.post("/v1/completions", json=COMPLETION | field)
    assert response.status_code == 400, response.text
    assert error_of(response)["param"] == param
    assert words in error_of(response)["message"]


async def test_a_version_keeps_its_form(client, engine):
    """A request that names none has the version's, `text` too; a request's own form wins."""
    defaults = {"structured_outputs": {"json": SCHEMA}}
    published = await publish(client, "forms", manifest={"defaults": defaults})
    assert published.status_code == 201, published.text
    kept = (await client.get("/v1/tasks/forms/versions/1")).json()["manifest"]["defaults"]["structured_outputs"]
    assert list(json.loads(kept["json"])["properties"]) == ["b", "a"]
    body = {"model": "forms", "prompt": "a"}
    assert json.loads((await asked(client, engine, body)).source) == SCHEMA
    assert json.loads((await asked(client, engine, body | {"response_format": {"type": "text"}})).source) == SCHEMA
    assert (await asked(client, engine, body | {"structured_outputs": {"regex": "a"}})).source == "a"


@pytest.mark.parametrize(
    "form", [{"json": {"not": {}}}, {"regex": "("}, {"regex": ""}, {"choice": [1]}, {"a": 1}, {}, "x"], ids=str
)
async def test_a_version_with_a_form_that_cannot_be_kept_is_refused(client, form):
    """At publication, not at each request."""
    response = await publish(client, "forms", manifest={"defaults": {"structured_outputs": form}})
    assert response.status_code == 400, response.text
    assert error_of(response)["param"] == "manifest.defaults.structured_outputs"


async def test_a_busy_compiler_asks_to_retry(services):
    """It is the server's state, not the caller's mistake."""

    class Busy:
        async def compile(self, constraint, *, is_continued):
            raise CompilerBusy("too many forms wait to be compiled; try again later")

    async with client_of(with_parts(services, constraints=Busy())) as client:
        response = await client.post("/v1/completions", json=COMPLETION | {"structured_outputs": {"regex": "a"}})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
