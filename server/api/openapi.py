"""The OpenAPI document for client generators. `python -m server.api` writes the committed copy.

FastAPI's own document lacks schemas that are only referred to (error bodies, stream chunks). It also lists a 422, which
this server never sends. Its fields have titles without content, and its integers have no size.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from server.api.access.authentication import declared_scopes
from server.api.management.checkpoint_upload import UPLOAD_SCHEMA
from server.api.management.file_upload import FILE_SCHEMA
from server.api.wire.chat import ChatCompletionChunk
from server.api.wire.completions import CompletionChunk
from server.api.wire.errors import ErrorBody

_REFERRED_TO = (ErrorBody, CompletionChunk, ChatCompletionChunk)
_NEVER_SENT = ("HTTPValidationError", "ValidationError")
_METHODS = ("get", "post", "put", "delete")


def operation_id(route: APIRoute) -> str:
    """`{tag}_{name}`: the name of an operation in generated clients."""
    return f"{route.tags[0]}_{route.name}" if route.tags else route.name


def install_openapi(app: FastAPI) -> None:
    """Make `app.openapi()` return our document. The first call builds it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build_document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def build_document(app: FastAPI) -> dict[str, Any]:
    """The document of an application's routes."""
    from server.api.wire.examples.document import add_examples  # no start needs them

    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    for path in document["paths"].values():
        for method in _METHODS:
            path.get(method, {}).get("responses", {}).pop("422", None)
    _name_scopes(document, app)
    _, referred = models_json_schema(
        [(model, "serialization") for model in _REFERRED_TO], ref_template="#/components/schemas/{model}"
    )
    schemas = {
        **referred["$defs"],
        **document["components"]["schemas"],
        UPLOAD_SCHEMA["title"]: UPLOAD_SCHEMA,
        FILE_SCHEMA["title"]: FILE_SCHEMA,
    }
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(schemas) if name not in _NEVER_SENT}
    _fit_for_generators(document)
    add_examples(document)
    return document


def _fit_for_generators(node: Any) -> None:
    """Drop the titles of fields and parameters, the null of parameters, and write the size of integers.

    A generator names an inline union by its title, so that two fields "Input" became `Input` and `Input1`. Without a
    title it takes the owner's name too. A query or a header is absent or a text, never null. An integer without a
    format is an int32 in Go, which holds neither the bytes of a large file nor a time after 2038.
    """
    if isinstance(node, list):
        for item in node:
            _fit_for_generators(item)
    if not isinstance(node, dict):
        return
    if "in" in node and "schema" in node:
        node["schema"] = _without_null(node["schema"])
    if node.get("type") == "integer":
        node.setdefault("format", "int64")
    for field in node.get("properties", {}).values():
        field.pop("title", None)
    for value in node.values():
        _fit_for_generators(value)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter: its one alternative to null, and neither title nor the default null."""
    forms = [form for form in schema.get("anyOf", ()) if form != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name not in ("title", "anyOf") and value is not None}
    return {**(forms[0] if len(forms) == 1 else {"anyOf": forms} if forms else {}), **kept}


def _name_scopes(document: dict[str, Any], app: FastAPI) -> None:
    """Write the scope that each operation needs into its `x-scope`."""
    for route, scope in declared_scopes(app.routes).items():
        method, path = route.split()
        operation = document["paths"].get(path.replace(":path}", "}"), {}).get(method.lower())
        if operation is not None and scope is not None:
            operation["x-scope"] = scope.value


def as_text(document: dict[str, Any]) -> str:
    """The document as it is committed."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
