"""A file of a page as a response."""

from __future__ import annotations

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from server.web.files import WebFile

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # a browser asks each time, so that no old file meets a new server
    "vary": "accept-encoding",
}
"""No inline script and no inline style. Libraries set styles through the CSSOM, which the policy allows."""


def web_file_response(request: Request, found: WebFile | None) -> Response:
    """The file, or 304 if the client has it. Raises a 404 for None, as an unknown route has."""
    if found is None:
        raise HTTPException(404)
    is_gzipped = "gzip" in request.headers.get("accept-encoding", "")
    etag = f'"{found.digest}{"-gzip" if is_gzipped else ""}"'
    headers = HEADERS | {"etag": etag} | ({"content-encoding": "gzip"} if is_gzipped else {})
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.gzipped if is_gzipped else found.content, headers=headers, media_type=found.content_type)
