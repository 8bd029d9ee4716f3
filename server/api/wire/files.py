"""`/v1/files`, as OpenAI has it."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody


class File(ResponseBody):
    """An uploaded file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    """Unix time in seconds."""
    filename: str
    purpose: Literal["fine-tune"]
    status: Literal["processed"]
    sha256: str
    """Of the file's bytes; the version that is tuned from it names it as `training_data_digest`."""


class FileList(ResponseBody):
    """A page of files."""

    object: Literal["list"]
    data: list[File]
    has_more: bool
    """Whether files follow: ask for those `after` the last id."""
    first_id: str | None
    last_id: str | None


class FileDeleted(ResponseBody):
    """A file that is gone."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]
