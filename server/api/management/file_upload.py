"""Upload of a file: into a temporary file while it streams, then into the store, wholly or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile

from prompts_store.batch_records import INPUT_PURPOSE
from prompts_store.errors import StoreFull
from prompts_store.tuning_records import FileAccess, FileRecord
from prompts_store.tuning_store import TuningStore
from server.api.access.authentication import Scope
from server.api.access.caller import Caller, CallerDep
from server.api.access.undeclared import PLAIN_NAME
from server.api.errors import (
    InvalidRequest,
    StorageFull,
    UnknownParameter,
    UnsupportedMediaType,
    UnsupportedParameter,
    UploadTooLarge,
)
from server.api.management.store_access import StoreAccessDep
from server.api.middleware.body_limit import allow_body
from server.api.wire.passive_fields import FILE_FIELDS

CHUNK_BYTES = 1024**2
EXAMPLES_PURPOSE = "fine-tune"
_SCOPES = {EXAMPLES_PURPOSE: Scope.TUNE, INPUT_PURPOSE: Scope.INFER}
"""The purposes of uploads, and the scope that each needs."""
_MAX_NAME_LENGTH = 256
_ROOM_FOR_MULTIPART = 64 * 1024
_MAX_FIELDS = 32
_MAX_FILES = 2  # one more than is allowed, so that the refusal can name it
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

FILE_SCHEMA: dict[str, Any] = {
    "title": "FileUpload",
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "JSONL in UTF-8. Of examples (fine-tune), each line is an object with `prompt` and "
            "`completion`, or `messages`, or `text` and `label`. Of requests (batch), with `custom_id`, `method`, "
            "`url` and `body`.",
        },
        "purpose": {"type": "string", "enum": [*_SCOPES]},
    },
}
FILE_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/FileUpload"}}},
    }
}


def file_access(caller: Caller) -> FileAccess:
    """The files that a caller may use: those of their own batches, and with the right to tune all examples."""
    if caller.is_admin:
        return FileAccess()
    return FileAccess(caller.actor, sees_examples=Scope.TUNE in caller.scopes)


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """A file that is in the store."""

    record: FileRecord


async def _receive(request: Request, store_access: StoreAccessDep, caller: CallerDep) -> StoredUpload:
    """Read the multipart body and keep its file.

    Raises `UnsupportedMediaType`, `UploadTooLarge`, `InvalidRequest`, `StorageFull`, and starlette's `HTTPException`
    for a body that is too large as a whole or no proper multipart. The temporary file goes in any case.
    """
    max_bytes = store_access.limits.max_file_bytes
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType("the body must be multipart/form-data")
    allow_body(request, max_bytes + _ROOM_FOR_MULTIPART, "--max-file-mib")
    try:
        async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=1024) as form:
            _check_parts(form)
            purpose = form.get("purpose")
            if not isinstance(purpose, str) or purpose not in _SCOPES:
                raise InvalidRequest(f"purpose must be {' or '.join(_SCOPES)}", param="purpose")
            caller.check_scope(_SCOPES[purpose])
            part = form.get("file")
            if not isinstance(part, UploadFile):
                raise InvalidRequest("this file is missing, or was sent without a file name", param="file")
            if part.size is None or part.size > max_bytes:
                raise UploadTooLarge(
                    f"the file has more than the maximum of {max_bytes} bytes (--max-file-mib)", param="file"
                )
            if part.size == 0:
                raise InvalidRequest("the file is empty", param="file")
            name = _CONTROL.sub("", part.filename or "")[:_MAX_NAME_LENGTH]
            chunks = _chunks(part.file)
            record = await store_access.write_tuning(TuningStore.add_file, name, purpose, chunks, actor=caller.actor)
            return StoredUpload(record)
    except (OSError, StoreFull) as error:
        raise StorageFull("the server's disk has no room for the file now; try again later") from error


def _check_parts(form: FormData) -> None:
    """Raise `InvalidRequest` for a part that is repeated, unknown, or asks for what is not done."""
    seen: set[str] = set()
    for name, value in form.multi_items():
        if name in seen:
            raise InvalidRequest("this part is given more than once: send it once", param=_plain(name))
        seen.add(name)
        if name in FILE_SCHEMA["properties"]:
            continue
        known = FILE_FIELDS.get(name.partition("[")[0])
        if known is None:
            raise UnknownParameter("the body has an unknown part; allowed are file, purpose", param=_plain(name))
        if not known.asks_nothing(value):
            raise UnsupportedParameter(known.refusal, param=_plain(name))


def _plain(name: str) -> str | None:
    """The name, if an error may repeat it."""
    return name if PLAIN_NAME.fullmatch(name) else None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data


UploadedFileDep = Annotated[StoredUpload, Depends(_receive)]
