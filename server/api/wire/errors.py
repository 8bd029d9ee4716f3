"""The one error body."""

from __future__ import annotations

from server.api.wire.bodies import ResponseBody


class ErrorDetail(ResponseBody):
    """What went wrong."""

    message: str
    """For people; may change."""
    type: str
    """The family: `invalid_request_error`, `authentication_error`, `rate_limit_error` or `server_error`."""
    code: str
    """For programs; stable."""
    param: str | None
    """The parameter at fault, if one is."""


class ErrorBody(ResponseBody):
    """Every answer that is no success, and the last event of a stream that failed."""

    error: ErrorDetail
