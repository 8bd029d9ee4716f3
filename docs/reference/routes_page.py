"""The page of routes: from the OpenAPI document, which has more: every schema, every answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from docs.reference.markdown import code, table
from server.api.application import build_routes
from server.api.openapi import build_document

_HEAD = """# Routes

[openapi.json](../openapi.json) describes every field of every body and answer; client generators read it. A running
server has the same document at `/openapi.json`, and pages of it at `/docs`. [Request fields](../fields.md) says which
fields of OpenAI's interface are accepted without effect, and which are refused.

The *scope* is what a key needs for the route ([security](../security.md)). Every error has one body,
`{"error": {"message", "type", "code", "param"}}`.

`make reference` writes this page from the code.
"""
_Operation = tuple[str, str, Mapping[str, Any]]


def routes_page() -> str:
    """Return the page as Markdown."""
    document = build_document(build_routes())
    sections = groupby(_operations(document), key=lambda one: one[2]["tags"][0])
    schemas = document["components"]["schemas"]
    return _HEAD + "".join(_section(tag, list(operations), schemas) for tag, operations in sections)


def _operations(document: Mapping[str, Any]) -> Iterator[_Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _section(tag: str, operations: list[_Operation], schemas: Mapping[str, Any]) -> str:
    title = tag.replace("_", " ").capitalize()
    return f"\n## {title}\n" + "".join(_route(*operation, schemas) for operation in operations)


def _route(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    statuses = ", ".join(sorted(operation["responses"]))
    parts = [
        f"\n### `{method} {path}`\n",
        f"{operation.get('description', '').strip()}\n",
        f"Scope: {code(operation['x-scope'])}. Statuses: {statuses}.\n",
        *_parameters(operation),
        *_body(operation, schemas),
    ]
    return "\n".join(parts)


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    if parameters := operation.get("parameters"):
        rows = [(code(one["name"]), one["in"], _text(one | one.get("schema", {}))) for one in parameters]
        yield table(["parameter", "in", "meaning"], rows)


def _body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(content["schema"], schemas)
        required = set(schema.get("required", ()))
        rows = [
            (code(name), _type(field), "required" if name in required else _default(field), _text(field))
            for name, field in schema.get("properties", {}).items()
        ]
        yield f"Body, `{kind}`:\n"
        yield table(["field", "type", "default", "meaning"], rows)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and the one body among alternatives with null."""
    while True:
        alternatives = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        elif len(alternatives) == 1:
            schema = alternatives[0]
        else:
            return schema


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type in a few words: alternatives by "or", null left out, named bodies by name."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(one) for one in alternatives if one.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema or "const" in schema:
        return ", ".join(code(str(value)) for value in schema.get("enum", [schema.get("const")]))
    return str(schema.get("type", "any"))


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else code(str(value).lower() if isinstance(value, bool) else str(value))


def _text(schema: Mapping[str, Any]) -> str:
    return " ".join(str(schema.get("description", "")).split())
