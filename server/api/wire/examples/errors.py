"""Examples of the error body: one per status, and of some statuses one per resource (the tag of the operation)."""

from __future__ import annotations

from server.api.wire.errors import ErrorBody, ErrorDetail

_REQUEST, _SERVER = "invalid_request_error", "server_error"


def _error(code: str, message: str, family: str = _REQUEST, param: str | None = None) -> ErrorBody:
    return ErrorBody(error=ErrorDetail(message=message, type=family, code=code, param=param))


_BY_STATUS = {
    "400": _error("unknown_parameter", "unknown parameter: 'temprature'", param="temprature"),
    "401": _error(
        "invalid_api_key", "a valid API key is required: send 'Authorization: Bearer <key>'", "authentication_error"
    ),
    "403": _error("task_not_allowed", "the API key does not allow this task", "permission_error"),
    "404": _error("task_not_found", 'There is no task "sentimant".', param="model"),
    "409": _error("task_exists", 'There is a task "urgency" already.'),
    "412": _error("precondition_failed", 'Alias "production" does not have the ETag in If-Match; read it again.'),
    "413": _error("body_too_large", "the body is too large; the maximum is 4194304 bytes (--max-body-bytes)"),
    "415": _error("unsupported_media_type", "the body must be application/json"),
    "428": _error(
        "precondition_required",
        "send If-Match with the alias's ETag to move it, or If-None-Match: * to create it, but not both",
    ),
    "429": _error("engine_overloaded", "too many requests are waiting; try again later", "rate_limit_error"),
    "500": _error("internal_error", "the server failed to answer this request", _SERVER),
    "503": _error("server_draining", "the server is stopping; send requests to another one", _SERVER),
    "507": _error("storage_full", "the server's disk has no room for the file now; try again later", _SERVER),
}
_BY_RESOURCE = {
    ("tasks", "404"): _error("task_not_found", 'There is no task "sentimant".'),
    ("versions", "404"): _error("version_not_found", 'Task "sentiment" has no version 7.'),
    ("versions", "409"): _error(
        "version_in_use", '1 alias(es) name version 1 of task "sentiment": production; move them first.'
    ),
    ("aliases", "404"): _error("alias_not_found", 'Task "sentiment" has no alias "canary".'),
    ("aliases", "409"): _error(
        "no_previous_version", 'Alias "production" of task "sentiment" has no earlier live version.'
    ),
    ("files", "404"): _error("file_not_found", "There is no file of this id."),
    ("files", "409"): _error("file_in_use", "A tuning job that has not ended needs this file."),
    ("fine_tuning", "404"): _error("job_not_found", "There is no tuning job of this id."),
    ("fine_tuning", "409"): _error("job_status_conflict", "The job is succeeded."),
    ("batches", "404"): _error("batch_not_found", "There is no batch of this id."),
    ("batches", "409"): _error("batch_status_conflict", "The batch is completed."),
    ("keys", "404"): _error("key_not_found", "There is no key of this name."),
    ("keys", "409"): _error("key_exists", "A key has or had this name; choose another one."),
}


def error_example(resource: str, status: str) -> ErrorBody:
    """The body that an operation of this resource could return with this status."""
    return _BY_RESOURCE.get((resource, status), _BY_STATUS[status])
