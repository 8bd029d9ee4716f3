"""Descriptions of the routes' responses for the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from server.api.wire.tasks import PublishedVersion, Purged

Responses = dict[int | str, dict[str, Any]]

ERROR_SCHEMA = {"$ref": "#/components/schemas/ErrorBody"}
_EVERYWHERE = (400, 401, 403, 429, 500, 503)
_HEADERS = {
    "x-softprompt-task": "The task that answered. Absent for the base model.",
    "x-softprompt-version": "The number of the version that answered.",
    "x-softprompt-digest": "The content digest (sha256) of the version that answered.",
}


def errors(*statuses: int) -> Responses:
    """The error body for these statuses and for those that every route has."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": ERROR_SCHEMA}},
        }
        for status in sorted({*statuses, *_EVERYWHERE})
    }


def answered_by_task() -> Responses:
    """A success whose headers name the version that answered."""
    headers = {
        name: {"description": description, "schema": {"type": "string"}} for name, description in _HEADERS.items()
    }
    return {200: {"headers": headers}}


def event_stream(chunk: str) -> Responses:
    """A success that, with `stream`, is sent as events whose data are chunks of this schema."""
    responses = answered_by_task()
    schema = {"$ref": f"#/components/schemas/{chunk}"}
    responses[200]["content"] = {"text/event-stream": {"schema": schema}}
    return responses


def binary_file() -> Responses:
    """A success whose body is a file of bytes."""
    return _file("application/octet-stream", {"type": "string", "format": "binary"})


def png_file() -> Responses:
    """A success whose body is a PNG image."""
    return _file("image/png", {"type": "string", "format": "binary"})


def json_file() -> Responses:
    """A success whose body is a file that holds a JSON object."""
    return _file("application/json", {"type": "object", "additionalProperties": True})


def _file(media_type: str, schema: dict[str, Any]) -> Responses:
    return {200: {"description": "The file", "content": {media_type: {"schema": schema}}}}


def text(description: str) -> Responses:
    """A success whose body is plain text."""
    return {200: {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}}


def etagged() -> Responses:
    """A success with the `ETag` that a conditional request needs."""
    description = "Changes with every move. Send it as `If-Match`."
    return {200: {"headers": {"ETag": {"description": description, "schema": {"type": "string"}}}}}


def published_already() -> Responses:
    """A success that created nothing new."""
    return {200: {"model": PublishedVersion, "description": "The same content is already a live version"}}


def purged() -> Responses:
    """A success whose body counts the removed records."""
    return {200: {"model": Purged, "description": "With `purge`: counts of the removed records"}}
