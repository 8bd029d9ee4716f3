"""The one error body."""

from __future__ import annotations

from server.api.wire.bodies import ResponseBody


class ErrorDetail(ResponseBody):
    """The cause of a failure."""

    message: str
    """A text for people. It may change between releases."""
    type: str
    """The family: `invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error` or
    `server_error`."""
    code: str
    """A name for programs. It is stable."""
    param: str | None
    """The parameter at fault, or null."""


class ErrorBody(ResponseBody):
    """The body of every response that is not a success, and the last event of a failed stream."""

    error: ErrorDetail
