"""`python -m server.api` writes docs/openapi.json, the committed OpenAPI document."""

from __future__ import annotations

from pathlib import Path

from server.api.application import build_routes
from server.api.openapi import as_text, build_document

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"

if __name__ == "__main__":
    DOCUMENT.write_text(as_text(build_document(build_routes())), encoding="utf-8")
