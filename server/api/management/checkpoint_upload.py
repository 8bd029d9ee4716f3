"""Upload of a version: two plain files, or a list of members, and a manifest. No archives, no pickles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from prompts_store.strict_json import JsonRefused, parse_object
from server.api.errors import InvalidRequest, UnsupportedMediaType, UploadTooLarge
from server.api.limits import ApiLimits
from server.api.management.store_access import StoreAccessDep
from server.api.middleware.body_limit import allow_body

_FILES = ("adapter_config", "adapter_model")
_FIELDS = ("manifest", "members", "promote", "description")
_MEMBERS = TypeAdapter(list[int])
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_TENSORS_TOO_LARGE = (
    " (--max-tensor-bytes); if an embedding layer was saved along, `softprompt task publish` sends it without"
)

UPLOAD_SCHEMA: Mapping[str, Any] = {
    "title": "CheckpointUpload",
    "type": "object",
    "description": "Both files of a checkpoint, or `members` instead.",
    "properties": {
        "adapter_config": {
            "type": "string",
            "format": "binary",
            "description": "PEFT's `adapter_config.json`.",
        },
        "adapter_model": {
            "type": "string",
            "format": "binary",
            "description": "PEFT's `adapter_model.safetensors`.",
        },
        "members": {
            "type": "string",
            "description": "The members of an ensemble: a JSON list of 2 to 8 version numbers of this task, such as "
            "`[1, 2, 3]`. The ensemble takes the members' template, chat_template, labels, stop, add_special_tokens, "
            "defaults and problem_type, which must be equal. If two answers are equally frequent, the member that is "
            "earlier in the list decides.",
        },
        "manifest": {
            "type": "string",
            "description": "A JSON object with any of `template` (holds `{input}` exactly once), `chat_template`, "
            "`labels`, `stop`, `add_special_tokens`, `defaults` (generation parameters, `structured_outputs` too), "
            "`metrics`, `note`, "
            "`task_index` (multitask checkpoints only), `pooling` and `normalize` (FEATURE_EXTRACTION only), "
            "`problem_type` (SEQ_CLS only) and `allow_base_mismatch`.",
        },
        "description": {
            "type": "string",
            "description": "A description of the task. Ignored unless this upload creates the task.",
        },
        "promote": {
            "type": "boolean",
            "default": False,
            "description": "Point `production` at this version. A task's first version is promoted in any case.",
        },
    },
}
UPLOAD_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/CheckpointUpload"}}},
    }
}
"""The body in the OpenAPI document. FastAPI does not read the body, so nothing is read before the key is checked."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointUpload:
    """A checkpoint, read but not checked yet."""

    config: bytes
    tensors: bytes
    manifest: Mapping[str, Any]
    allow_base_mismatch: bool
    promote: bool
    description: str


@dataclass(frozen=True, slots=True)
class EnsembleUpload:
    """An ensemble's members by version number, not checked yet."""

    members: tuple[int, ...]
    manifest: Mapping[str, Any]
    promote: bool


async def _read_upload(request: Request, store_access: StoreAccessDep) -> CheckpointUpload | EnsembleUpload:
    """Read the multipart body.

    Raises `UnsupportedMediaType`, `UploadTooLarge` or `InvalidRequest`, and starlette's `HTTPException` for a body that
    is too large as a whole or no proper multipart.
    """
    limits = store_access.limits
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise UnsupportedMediaType("the body must be multipart/form-data")
    allow_body(request, limits.max_upload_bytes, "--max-tensor-bytes")
    async with request.form(
        max_files=len(_FILES), max_fields=len(_FIELDS), max_part_size=limits.max_manifest_bytes
    ) as form:
        _check_names(form)
        manifest = _manifest(_field(form, "manifest", "{}"), limits)
        if "members" in form:
            if any(name in form for name in _FILES):
                raise InvalidRequest("an ensemble has no files: send either members or files", param="members")
            members = _members(_field(form, "members", ""))
            return EnsembleUpload(members, manifest, promote=_flag(_field(form, "promote", "false")))
        return CheckpointUpload(
            config=await _file(form, "adapter_config", limits.max_config_bytes),
            tensors=await _file(form, "adapter_model", limits.max_tensor_bytes, _TENSORS_TOO_LARGE),
            allow_base_mismatch=_allow_base_mismatch(manifest),
            manifest={name: value for name, value in manifest.items() if name != "allow_base_mismatch"},
            promote=_flag(_field(form, "promote", "false")),
            description=_field(form, "description", ""),
        )


UploadDep = Annotated[CheckpointUpload | EnsembleUpload, Depends(_read_upload)]


def _check_names(form: FormData) -> None:
    names = [name for name, _ in form.multi_items()]
    if len(names) != len(set(names)) or not set(names) <= {*_FILES, *_FIELDS}:
        allowed = ", ".join((*_FILES, *_FIELDS))
        raise InvalidRequest(f"the body has an unknown or a repeated part; allowed once each are {allowed}")


async def _file(form: FormData, name: str, max_bytes: int, option: str = "") -> bytes:
    part = form.get(name)
    if not isinstance(part, UploadFile):
        raise InvalidRequest("this file is missing, or was sent without a file name", param=name)
    if part.size is None or part.size > max_bytes:
        raise UploadTooLarge(f"this file has more than the maximum of {max_bytes} bytes{option}", param=name)
    return await part.read()


def _field(form: FormData, name: str, default: str) -> str:
    part = form.get(name, default)
    if not isinstance(part, str):
        raise InvalidRequest("this part must be a field, not a file", param=name)
    return part


def _members(text: str) -> tuple[int, ...]:
    try:
        return tuple(_MEMBERS.validate_json(text.encode(errors="surrogatepass"), strict=True))
    except ValidationError as error:
        raise InvalidRequest(
            "members must be a JSON list of version numbers, such as [1, 2]", param="members"
        ) from error


def _manifest(text: str, limits: ApiLimits) -> dict[str, Any]:
    try:
        return parse_object(text.encode(errors="surrogatepass"), max_bytes=limits.max_manifest_bytes)
    except JsonRefused as error:
        raise InvalidRequest(f"the manifest {error}", param="manifest") from error


def _allow_base_mismatch(manifest: Mapping[str, Any]) -> bool:
    allowed = manifest.get("allow_base_mismatch", False)
    if not isinstance(allowed, bool):
        raise InvalidRequest("allow_base_mismatch must be true or false", param="manifest.allow_base_mismatch")
    return allowed


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise InvalidRequest("promote must be true or false", param="promote")
    return _FLAGS[text.lower()]
