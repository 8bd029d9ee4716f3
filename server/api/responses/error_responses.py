"""Exceptions become the one error body; foreign ones are never quoted, and input is never echoed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from prompts_store.errors import InvalidCheckpoint, InvalidManifest
from server.api.access.undeclared import PLAIN_NAME
from server.api.responses.error_table import (
    ERROR_TABLE,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    SERVER_ERROR,
    Answer,
    answer_to,
)
from server.api.wire.errors import ErrorBody, ErrorDetail
from server.api.wire.passive_fields import known_field

REQUEST_ID_HEADER = "x-request-id"
_MAX_MESSAGES = 4
_ERROR_CODE = "error_code"
_EXTRA = "extra_forbidden"
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected before its answer. Only logs and metrics show it."""

_log = logging.getLogger(__name__)
_UNION_BRANCH = re.compile(r"str|int|float|bool|.*\[.*|[A-Z][A-Za-z]+")
_HTTP_REFUSALS = {
    400: ("malformed_body", "the body could not be read"),
    404: ("not_found", "there is no such route"),
    405: ("method_not_allowed", "the route does not allow this method"),
    408: ("body_timeout", "the body did not arrive in time"),
    413: ("body_too_large", "the body is too large"),
}

_NOT_OFFERED = {"/v1/responses": "Responses are not offered: use POST /v1/chat/completions"}
"""Families of routes that stock clients know and this server lacks, and what to do instead."""


def install_error_handlers(app: FastAPI) -> None:
    """Answer every exception of an application with the error body."""
    for error_class in ERROR_TABLE:
        app.add_exception_handler(error_class, _answer_known)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_unknown)


def error_body(error: BaseException, request_id: str) -> ErrorBody:
    """The body for an exception in the middle of a stream. Failures of the server are logged."""
    return _body_of(_looked_up(error, request_id), error)


def error_answer(error: Exception, request_id: str) -> tuple[int, ErrorBody]:
    """The status and the body for an exception of a call that no connection waits for, as its route would answer."""
    if isinstance(error, ValidationError):
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return 400, _validation_body([{**one, "loc": ("body", *one["loc"])} for one in errors])
    answer = _looked_up(error, request_id)
    return answer.status, _body_of(answer, error)


def error_response(scope: Scope, error: Exception) -> Response:
    """The answer to one of our exceptions outside the routes, where it cannot be raised."""
    answer = answer_to(error)
    return _respond(Request(scope), answer.status, _body_of(answer, error), _headers_of(answer, error))


def error_code(scope: Scope) -> str:
    """The code of a request's error body; empty if the answer was another body."""
    return str(scope.get("state", {}).get(_ERROR_CODE, ""))


def _looked_up(error: BaseException, request_id: str) -> Answer:
    answer = answer_to(error)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request %s failed", request_id, exc_info=error)
    return answer


def _answer_known(request: Request, error: Exception) -> Response:
    answer = _looked_up(error, request.state.request_id)
    return _respond(request, answer.status, _body_of(answer, error), _headers_of(answer, error))


def _answer_nobody(_: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _answer_unknown(request: Request, error: Exception) -> Response:
    """An unexpected failure. The HTTP server logs its traceback. The middleware of the request id is further inside."""
    request_id = request.state.request_id
    _log.error("request %s failed: %s", request_id, type(error).__name__)
    return _respond(request, INTERNAL_ERROR.status, _body_of(INTERNAL_ERROR, error), {REQUEST_ID_HEADER: request_id})


def _answer_http(request: Request, error: Exception) -> Response:
    """Starlette's and FastAPI's own refusals: unknown routes and methods, bodies too large or unreadable."""
    assert isinstance(error, HTTPException)
    code, message = _HTTP_REFUSALS.get(error.status_code, ("request_refused", HTTPStatus(error.status_code).phrase))
    family = INVALID_REQUEST if error.status_code < 500 else SERVER_ERROR
    if error.status_code == HTTPStatus.NOT_FOUND:
        path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
        message = _NOT_OFFERED.get("/".join(path.split("/")[:3]), message)
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message += f"; the maximum is {request.state.max_body_bytes} bytes ({request.state.max_body_option})"
    return _respond(request, error.status_code, _body(message, family, code), error.headers)


def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if errors[0]["loc"] == ("body",) and errors[0]["type"] != "missing" and not _is_json(request):
        refusal = _body("the body must be application/json", INVALID_REQUEST, "unsupported_media_type")
        return _respond(request, 415, refusal)
    return _respond(request, 400, _validation_body(errors))


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _validation_body(errors: Sequence[Mapping[str, Any]]) -> ErrorBody:
    """The body for the first parameter at fault, with all its messages (each branch of a union has its own)."""
    first = errors[0]
    param = _param(first["loc"])
    if first["type"] == "json_invalid":
        return _body("the body is not valid JSON", INVALID_REQUEST, "malformed_body")
    if first["type"] == _EXTRA:
        code = "unsupported_parameter" if known_field(str(first["loc"][-1])) else "unknown_parameter"
        return _body(_message(first), INVALID_REQUEST, code, param)
    code = "missing_parameter" if first["type"] == "missing" else "invalid_value"
    messages = dict.fromkeys(_message(error) for error in errors if error["loc"][:2] == first["loc"][:2])
    return _body(f"{param}: {'; or '.join([*messages][:_MAX_MESSAGES])}", INVALID_REQUEST, code, param)


def _message(error: Mapping[str, Any]) -> str:
    """The sentence about one fault, in our words where pydantic's do not name the field."""
    if error["type"] != _EXTRA:
        return str(error["msg"])
    known = known_field(str(error["loc"][-1]))
    return f"unknown parameter: '{_param(error['loc'])}'" if known is None else known.refusal


def _param(loc: Sequence[str | int]) -> str:
    """The parameter's name as its client wrote it, if it is a plain name; else its place, such as "body"."""
    path = [part for part in loc[1:] if isinstance(part, int) or not _UNION_BRANCH.fullmatch(part)]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return name if PLAIN_NAME.fullmatch(name) else str(loc[0])


def _headers_of(answer: Answer, error: Exception) -> dict[str, str]:
    headers = dict(answer.headers)
    if (retry_after_s := getattr(error, "retry_after_s", None)) is not None:
        headers["Retry-After"] = str(retry_after_s)
    return headers


def _body_of(answer: Answer, error: BaseException) -> ErrorBody:
    param = getattr(error, "param", None) or answer.param
    message = answer.message or str(error)
    if isinstance(error, InvalidManifest | InvalidCheckpoint):  # their messages do not name the parameter
        message = f"{param}: {message}"
    return _body(message, answer.type, answer.code or str(getattr(error, "code", "internal_error")), param)


def _body(message: str, family: str, code: str, param: str | None = None) -> ErrorBody:
    return ErrorBody(error=ErrorDetail(message=message, type=family, code=code, param=param))


def _respond(request: Request, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response:
    setattr(request.state, _ERROR_CODE, body.error.code)
    return Response(body.model_dump_json(), status, headers, media_type="application/json")
