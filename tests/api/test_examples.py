"""The examples of the OpenAPI document: on every operation, and true to its schemas."""

from datetime import datetime

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from server.api.wire.bodies import RequestBody
from server.api.wire.examples import heads, inference, keys, tasks, tuning
from tests.fakes import openapi

BINARY = {"type": "string", "format": "binary"}
FORMATS = FormatChecker()


@FORMATS.checks("date-time", raises=ValueError)
def is_moment(text):
    """A date and a time with its zone; jsonschema checks these only with one more package."""
    return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None


@pytest.fixture(scope="module")
def document():
    return openapi.document()


@pytest.fixture(scope="module")
def bodies(document):
    """Every body as its place and its media type, with a list of its examples; files of bytes left out."""
    found = []
    for path in document["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            messages = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for kind, message in messages.items():
                for media_type, content in message.get("content", {}).items():
                    if content["schema"] != BINARY:
                        found.append((f"{name} {kind} {media_type}", content | {"all": examples_of(content)}))
    return found


def examples_of(content):
    """The one example of a media type, or its named ones; it may not have both."""
    assert not {"example", "examples"} <= content.keys()
    return [content["example"]] if "example" in content else [one["value"] for one in content["examples"].values()]


def test_every_body_has_an_example(bodies):
    """Of requests, successes and failures alike."""
    assert len(bodies) > 300
    assert [place for place, content in bodies if not content["all"]] == []


def test_what_has_several_forms_has_an_example_of_each(bodies):
    """The answers of heads, in the document that the page of the API shows."""
    numbers = {place: len(content["all"]) for place, content in bodies if len(content["all"]) > 1}
    assert numbers == {
        "classify_create request application/json": 3,
        "classify_create 200 application/json": 5,
        "embeddings_create request application/json": 3,
        "embeddings_create 200 application/json": 2,
    }


def test_every_example_is_valid(document, bodies):
    """By its schema, as JSON Schema 2020-12 has it, dates and times included."""
    for place, content in bodies:
        schema = content["schema"] | {"components": document["components"]}
        validator = Draft202012Validator(schema, format_checker=FORMATS)
        for example in content["all"]:
            assert [error.message for error in validator.iter_errors(example)] == [], place


def test_an_example_that_is_not_valid_is_found(document):
    """The check above is none if references are not followed, or formats not read."""
    schema = {"$ref": "#/components/schemas/Task", "components": document["components"]}
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    found = {
        error.message for error in validator.iter_errors({"object": "task", "name": 3, "created_at": "2026-03-02"})
    }
    assert {"3 is not of type 'string'", "'2026-03-02' is not a 'date-time'"} <= found


def test_every_path_parameter_has_an_example(document):
    """So that an operation can be tried without a look elsewhere."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] != "path" or "example" in parameter


def test_requests_are_what_the_server_reads():
    """The strict types of requests accept their own examples."""
    examples = (*inference.EXAMPLES, *tasks.EXAMPLES, *tuning.EXAMPLES, *keys.EXAMPLES)
    named = [example for of_body in heads.ALTERNATIVES.values() for example in of_body.values()]
    requests = [example for example in (*examples, *named) if isinstance(example, RequestBody)]
    assert len(requests) == 18
    for request in requests:
        assert type(request).model_validate_json(request.model_dump_json(exclude_unset=True)) == request


def test_every_summary_says_what_is_done(document):
    """A verb and what it is done to, once only."""
    summaries = [operation["summary"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(summaries)) == len(summaries)
    assert all(len(summary.split()) > 1 for summary in summaries)
