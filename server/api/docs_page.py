"""The OpenAPI document as one page for people. It loads nothing from other hosts, so it works offline."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem;
       color-scheme: light dark }}
code {{ font: 14px ui-monospace, monospace }} dt {{ margin-top: 1rem }} dd {{ margin: 0 }} td {{ padding-right: 1rem }}
</style></head><body><h1>{title} {version}</h1><p>{description}</p>
<p>The whole document, for generators: <a href="openapi.json">openapi.json</a></p>
{sections}</body></html>
"""
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def docs_page(document: Mapping[str, Any]) -> str:
    """The page: every operation by its tag, with its description and the fields of its body."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            entry = _entry(f"{method.upper()} {path}", operation, document)
            by_tag.setdefault(operation["tags"][0], []).append(entry)
    sections = "".join(f"<h2>{escape(tag)}</h2><dl>{''.join(entries)}</dl>" for tag, entries in by_tag.items())
    return _PAGE.format(**{name: escape(text) for name, text in document["info"].items()}, sections=sections)


def _entry(route: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    rows = "".join(_row(name, field) for name, field in _body_fields(operation, document).items())
    details = f"<details><summary>body</summary><table>{rows}</table></details>" if rows else ""
    return f"<dt><code>{escape(route)}</code></dt><dd>{escape(operation.get('description', ''))}{details}</dd>"


def _row(name: str, field: Mapping[str, Any]) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(field.get('description', ''))}</td></tr>"


def _body_fields(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    (content,) = operation.get("requestBody", {}).get("content", {}).values() or [None]
    if content is None:
        return {}
    wanted = content["schema"]
    (reference,) = [branch["$ref"] for branch in wanted.get("anyOf", [wanted]) if "$ref" in branch]  # else null
    schema: Mapping[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    properties: Mapping[str, Any] = schema["properties"]
    return properties
