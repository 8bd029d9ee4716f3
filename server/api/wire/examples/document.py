"""Puts the examples into the OpenAPI document: at the media type of each body, and one per path parameter.

A body with several forms has an example for each, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from server.api.wire.examples import batches, heads, inference, keys, operations, tasks, tuning
from server.api.wire.examples.errors import error_example

_REFERENCE = "#/components/schemas/"
_BINARY = {"type": "string", "format": "binary"}
_TYPED = (
    *inference.EXAMPLES,
    *tasks.EXAMPLES,
    *tuning.EXAMPLES,
    *batches.EXAMPLES,
    *keys.EXAMPLES,
    *operations.EXAMPLES,
)
_BY_SCHEMA = {"CheckpointUpload": tasks.UPLOAD, "FileUpload": tuning.UPLOAD}
_BY_OPERATION = {
    **tuning.AFTER,
    **batches.AFTER,
    "versions_download_config": tasks.CONFIG,
    "operations_metrics": operations.METRICS,
}
_PATH_PARAMETERS = {
    "task": inference.SENTIMENT,
    "alias": "production",
    "version": "2",
    "model_id": inference.SENTIMENT,
    "file_id": "file-1",
    "job_id": "ftjob-1",
    "batch_id": "batch-1",
    "key_name": "shop",
}


def add_examples(document: Mapping[str, Any]) -> None:
    """Add an example to every body but binary files. Raises KeyError for a body without one."""
    by_schema = _BY_SCHEMA | {type(example).__name__: _json(example) for example in _TYPED}
    for path in document["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.update(_of_schema(_schema_name(content["schema"]), by_schema))
            for status, content in _contents(operation["responses"]):
                if content["schema"] != _BINARY:
                    content.update(_response(operation, status, content["schema"], by_schema))
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["example"] = _PATH_PARAMETERS[parameter["name"]]


def _response(
    operation: Mapping[str, Any], status: str, schema: Mapping[str, Any], by_schema: Mapping[str, Any]
) -> dict[str, Any]:
    """The examples of one response of an operation."""
    if status >= "400":
        return {"example": _json(error_example(operation["tags"][0], status))}
    own = _BY_OPERATION.get(operation["operationId"])
    if own is not None:
        return {"example": _json(own)}
    found = _of_schema(_schema_name(schema), by_schema)
    if operation["operationId"] == "versions_publish" and status == "200":
        return {"example": found["example"] | {"created": False}}
    return found


def _of_schema(schema: str, by_schema: Mapping[str, Any]) -> dict[str, Any]:
    """The one example of a body, or the named ones of a body with several forms."""
    named = heads.ALTERNATIVES.get(schema)
    if named is None:
        return {"example": by_schema[schema]}
    return {"examples": {name: {"value": _json(example)} for name, example in named.items()}}


def _contents(responses: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, response in responses.items():
        for content in response.get("content", {}).values():
            yield status, content


def _schema_name(schema: Mapping[str, Any]) -> str:
    """The name of the schema that a body refers to, alone or as the alternative to null."""
    alternatives = schema.get("anyOf", [schema])
    (name,) = [each["$ref"].removeprefix(_REFERENCE) for each in alternatives if "$ref" in each]
    return str(name)


def _json(example: Any) -> Any:
    """An example as JSON, with the fields that were set, as a response has them."""
    return example.model_dump(mode="json", exclude_unset=True) if isinstance(example, BaseModel) else example
