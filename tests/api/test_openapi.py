"""The OpenAPI document: committed, and fit for generators."""

import json

import pytest

from server.api.__main__ import DOCUMENT
from server.api.openapi import as_text
from tests.fakes import openapi

OPERATIONS = {
    "batches_cancel", "batches_create", "batches_get", "batches_list",
    "aliases_delete", "aliases_get", "aliases_history", "aliases_list", "aliases_put", "aliases_rollback",
    "chat_complete", "classify_create", "completions_create", "embeddings_create", "engine_get",
    "files_content", "files_create", "files_delete", "files_get", "files_list",
    "fine_tuning_cancel", "fine_tuning_checkpoints", "fine_tuning_create", "fine_tuning_events", "fine_tuning_get",
    "fine_tuning_list", "fine_tuning_pause", "fine_tuning_preview", "fine_tuning_resume",
    "keys_audit", "keys_create", "keys_list", "keys_revoke", "keys_self",
    "models_get", "models_list",
    "operations_health",
    "operations_metrics", "operations_ready", "operations_version",
    "tasks_create", "tasks_delete", "tasks_get", "tasks_list",
    "tokens_detokenize", "tokens_tokenize",
    "versions_download_config", "versions_download_plot", "versions_download_tensors", "versions_get", "versions_list",
    "versions_publish",
    "versions_retire",
}  # fmt: skip


@pytest.fixture(scope="module")
def document():
    return openapi.document()


@pytest.fixture(scope="module")
def operations(document):
    return {operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()}


def test_the_committed_document_is_this_one(document):
    """After a change of the API: `make openapi`, and look at the difference."""
    assert DOCUMENT.read_text(encoding="utf-8") == as_text(document)


async def test_the_server_hands_out_the_same(client, document):
    """Under `/openapi.json`."""
    assert (await client.get("/openapi.json")).json() == document


def test_operation_ids_are_what_clients_were_generated_with(operations):
    """Renaming one breaks every generated client."""
    assert set(operations) == OPERATIONS


def test_every_failure_has_the_error_body(operations):
    """On every route; FastAPI's own 422 is nowhere."""
    for operation in operations.values():
        failures = {status: body for status, body in operation["responses"].items() if int(status) >= 400}
        assert {"400", "401", "403", "429", "500", "503"} <= set(failures)
        assert "422" not in failures
        for body in failures.values():
            assert list(body["content"]) == ["application/json"]
            assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


def test_uploads_and_downloads_are_binary(document, operations):
    """Generators make files of them, not texts."""
    assert "multipart/form-data" in operations["versions_publish"]["requestBody"]["content"]
    for name in ("adapter_config", "adapter_model"):
        part = document["components"]["schemas"]["CheckpointUpload"]["properties"][name]
        assert part["format"] == "binary"
    content = operations["versions_download_tensors"]["responses"]["200"]["content"]
    assert content == {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def test_streams_have_a_schema(document, operations):
    """`itemSchema` belongs to a later version of the standard."""
    for name, chunk in (("completions_create", "CompletionChunk"), ("chat_complete", "ChatCompletionChunk")):
        content = operations[name]["responses"]["200"]["content"]
        assert content["text/event-stream"]["schema"] == {"$ref": f"#/components/schemas/{chunk}"}
        assert "application/json" in content
    assert "itemSchema" not in json.dumps(document)


def test_generators_get_sizes_and_no_empty_words(document, operations):
    """An integer without a size is 32 bits in Go; titles of fields become names; no query and no header is null."""
    schemas = document["components"]["schemas"]
    fields = [field for schema in schemas.values() for field in schema.get("properties", {}).values()]
    parameters = [one["schema"] for operation in operations.values() for one in operation.get("parameters", ())]
    for schema in (*fields, *parameters):
        assert "title" not in schema
        for form in (schema, *schema.get("anyOf", ())):
            assert form.get("format") == "int64" or form.get("type") != "integer"
    assert len(parameters) > 20
    assert not any("anyOf" in schema or schema.get("type") == "null" for schema in parameters)


def test_every_reference_has_its_schema(document):
    """And nothing of the validation errors that are never sent is left."""
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= set(schemas)
    assert "HTTPValidationError" not in schemas
