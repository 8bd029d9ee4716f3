"""Exceptions of the HTTP layer. Messages are written for the caller; `error_table` gives each class its status.

ApiError
├── InvalidRequest          a parameter has a value that cannot be served
│   ├── UnknownParameter    a parameter, a part or a header that the route does not know
│   └── UnsupportedParameter  a known parameter that asks for what the server does not do
├── ModelNotFound           `model` names nothing
├── Unauthorized            no key, or one that is unknown, revoked or expired
├── Forbidden               the key does not allow this
├── RateLimited             the key has used its quota
├── QuotaTooSmall           the request needs more tokens than the key's quota per minute
├── Overloaded              the answer would come too late
├── DeadlineExceeded        the request's time is over
├── UploadTooLarge
├── StorageFull             there is no room for an upload
├── UnsupportedMediaType
├── TaskReadOnly            a folder on the server owns the task
├── PreconditionRequired    a conditional request without its condition
├── NotReady                the engine or the catalog is not working
└── ServerDraining          the server is stopping
"""

from __future__ import annotations


class ApiError(Exception):
    """Base of all errors of the HTTP layer. `code` is stable; `param` names the parameter at fault."""

    code: str

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequest(ApiError):
    """A parameter has a value that cannot be served."""

    code = "invalid_value"


class UnknownParameter(InvalidRequest):
    """A query parameter, a part of a form, or a header of ours, that the route does not know."""

    code = "unknown_parameter"


class UnsupportedParameter(InvalidRequest):
    """A known parameter that asks for what the server does not do."""

    code = "unsupported_parameter"


class ModelNotFound(ApiError):
    """`model` names nothing; `code` says whether the task, the version or the alias is missing."""

    def __init__(self, message: str, *, code: str = "model_not_found") -> None:
        super().__init__(message, param="model")
        self.code = code


class Unauthorized(ApiError):
    """No API key was sent, or one that is unknown, revoked or expired."""

    code = "invalid_api_key"


class Forbidden(ApiError):
    """The API key does not allow this; `code` names the reason: its scopes, its tasks or its priority."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class RateLimited(ApiError):
    """The API key has used its quota; `code` names which one."""

    def __init__(self, message: str, *, code: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class QuotaTooSmall(ApiError):
    """The request needs more tokens than the API key may use per minute."""

    code = "tokens_per_minute_too_few"


class Overloaded(ApiError):
    """The queue is so long that this request would be answered too late."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ApiError):
    """The time that the caller set for the request is over."""

    code = "deadline_exceeded"


class UploadTooLarge(ApiError):
    """An uploaded file exceeds its limit."""

    code = "body_too_large"


class StorageFull(ApiError):
    """The server has no room for an upload now."""

    code = "storage_full"


class UnsupportedMediaType(ApiError):
    """The body does not have the content type of the route."""

    code = "unsupported_media_type"


class TaskReadOnly(ApiError):
    """The task is published from a folder on the server's side, so that it has one owner."""

    code = "task_read_only"


class PreconditionRequired(ApiError):
    """The request must say which state it changes."""

    code = "precondition_required"


class NotReady(ApiError):
    """The server cannot answer requests now."""

    code = "not_ready"


class ServerDraining(ApiError):
    """The server finishes accepted requests and refuses new ones."""

    code = "server_draining"
