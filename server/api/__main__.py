"""`python -m server.api` writes docs/openapi.json, the committed OpenAPI document, and docs/fields.md."""

from __future__ import annotations

from pathlib import Path

from server.api.application import build_routes
from server.api.fields_page import fields_page
from server.api.openapi import as_text, build_document

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCS / "openapi.json"
FIELDS_PAGE = DOCS / "fields.md"

if __name__ == "__main__":
    DOCUMENT.write_text(as_text(build_document(build_routes())), encoding="utf-8")
    FIELDS_PAGE.write_text(fields_page(), encoding="utf-8")
