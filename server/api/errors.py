"""What the HTTP layer itself refuses. Messages are written for the caller; `error_table` gives each class its status.

ApiError
├── InvalidRequest          a parameter has a value that cannot be served
├── ModelNotFound           `model` names nothing
├── Unauthorized            no key, or a wrong one
├── UploadTooLarge
├── UnsupportedMediaType
├── TaskReadOnly            a folder on the server's side owns the task
├── PreconditionRequired    a conditional request without its condition
├── NotReady                the engine or the catalog is not working
└── ServerDraining          the server is about to stop
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


class ModelNotFound(ApiError):
    """`model` names nothing; `code` says whether the task, the version or the alias is missing."""

    def __init__(self, message: str, *, code: str = "model_not_found") -> None:
        super().__init__(message, param="model")
        self.code = code


class Unauthorized(ApiError):
    """No API key was sent, or a wrong one."""

    code = "invalid_api_key"


class UploadTooLarge(ApiError):
    """An uploaded file exceeds its limit."""

    code = "body_too_large"


class UnsupportedMediaType(ApiError):
    """The body is not of the content type that the route takes."""

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
    """The server finishes what it has accepted, and takes nothing new."""

    code = "server_draining"
