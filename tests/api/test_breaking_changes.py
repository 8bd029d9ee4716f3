"""Clients generated from the last release's document go on working with this one."""

import copy
import json

import pytest

from server.api.__main__ import DOCS, DOCUMENT
from tests.api.breaking_changes import breaking_changes

RELEASED = max((DOCS / "released").glob("openapi-*.json"), key=lambda path: [int(n) for n in path.stem[8:].split(".")])


@pytest.fixture(scope="module")
def released():
    return json.loads(RELEASED.read_text())


def test_nothing_breaks_clients_of_the_last_release(released):
    """A wanted break needs a new version, whose document is then kept beside this one (CONTRIBUTING.md)."""
    assert breaking_changes(released, json.loads(DOCUMENT.read_text())) == []


def _remove(*keys):
    def change(document):
        *parents, last = keys
        for key in parents:
            document = document[key]
        document.pop(last)

    return change


def _set(value, *keys):
    def change(document):
        *parents, last = keys
        for key in parents:
            document = document[key]
        document[last] = value

    return change


REQUEST = ("components", "schemas", "CompletionRequest")
ANSWER = ("components", "schemas", "Completion")
INTEGER = {"type": "integer", "format": "int64"}
GATE = ("components", "schemas", "GateBody")
STREAM = ("responses", "200", "content", "text/event-stream")
ROUTE = ("paths", "/v1/completions", "post")
BREAKING = {
    "a route": (_remove("paths", "/v1/classify"), "POST /v1/classify: removed"),
    "a method": (_remove("paths", "/v1/tasks/{task}", "delete"), "DELETE /v1/tasks/{task}: removed"),
    "an operation's name": (_set("completions_make", *ROUTE, "operationId"), "completions_create is now"),
    "a parameter": (_set([], *ROUTE, "parameters"), "header x-request-timeout-ms: removed"),
    "a media type": (_remove(*ROUTE, *STREAM), "text/event-stream is removed"),
    "a status": (_remove("paths", "/v1/tasks", "post", "responses", "201"), "the status 201 is removed"),
    "a field of a request": (_remove(*REQUEST, "properties", "user"), "CompletionRequest (request).user: removed"),
    "a field that is needed": (_set(["model", "prompt", "seed"], *REQUEST, "required"), ".seed: required now"),
    "a field's type": (_set({"type": "boolean"}, *REQUEST, "properties", "model"), ".model: string is now boolean"),
    "a null that is refused": (_set(INTEGER, *REQUEST, "properties", "seed"), "form null is no longer taken"),
    "a bound": (_set(10, *REQUEST, "properties", "model", "maxLength"), "maxLength is 10 now, after 256"),
    "a value": (_set(["lists"], *GATE, "properties", "metric", "enum"), "are no longer taken"),
    "a field of an answer": (_remove(*ANSWER, "properties", "usage"), "Completion (answer).usage: removed"),
    "an answer's field that may miss": (_set(["id"], *ANSWER, "required"), ".choices: no longer always there"),
    "an answer's field that may be null": (
        _set({"anyOf": [{"type": "string"}, {"type": "null"}]}, *ANSWER, "properties", "id"), "the form null is new",
    ),
    "a type within an answer": (
        _set({"type": "string"}, "components", "schemas", "CompletionChoice", "properties", "index"), "is now string",
    ),
    "a size": (_set("int32", *ANSWER, "properties", "created", "format"), "integer int64 is now integer int32"),
}  # fmt: skip
HARMLESS = {
    "a new route": _set({"post": {"operationId": "another", "responses": {}}}, "paths", "/v1/another"),
    "a new optional field": _set({"type": "string"}, *REQUEST, "properties", "another"),
    "another form of a request": _set(
        {"anyOf": [{"type": "string"}, {"type": "integer"}]}, *REQUEST, "properties", "model"
    ),
    "a new field of an answer": _set({"type": "string"}, *ANSWER, "properties", "another"),
    "a wider bound": _set(512, *REQUEST, "properties", "model", "maxLength"),
    "another description": _set("Another.", *REQUEST, "description"),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_breaking_change_is_found(released, case):
    """Each kind, and nothing else."""
    change, words = BREAKING[case]
    changed = copy.deepcopy(released)
    change(changed)
    found = breaking_changes(released, changed)
    assert found
    assert any(words in line for line in found), found


@pytest.mark.parametrize("case", HARMLESS)
def test_a_harmless_change_is_none(released, case):
    """Requests may take more, answers may say more."""
    changed = copy.deepcopy(released)
    HARMLESS[case](changed)
    assert breaking_changes(released, changed) == []
