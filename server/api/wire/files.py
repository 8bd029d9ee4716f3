"""`/v1/files`, compatible with OpenAI's."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody


class FileObject(ResponseBody):
    """An uploaded file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    """Unix time in seconds."""
    filename: str
    purpose: Literal["fine-tune", "batch", "batch_output"]
    status: Literal["processed"]
    sha256: str
    """SHA-256 of the file's bytes. A version tuned from this file has it as `training_data_digest`."""


class FileList(ResponseBody):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    has_more: bool
    """True if more files follow. To get them, send the last id as `after`."""
    first_id: str | None
    last_id: str | None


class FileDeleted(ResponseBody):
    """A deleted file."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]
