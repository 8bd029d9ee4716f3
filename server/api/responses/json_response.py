"""A response body as JSON: only the fields that were set."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from server.api.wire.bodies import ResponseBody


def json_text(body: ResponseBody) -> str:
    """The body as JSON on one line."""
    return body.model_dump_json(exclude_unset=True)


def json_response(body: ResponseBody, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The body as a response."""
    return Response(json_text(body), status, headers, media_type="application/json")
