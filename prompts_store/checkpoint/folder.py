"""A version as a folder: a PEFT checkpoint's two files, and `manifest.json` beside them.

The folder comes from outside: it may be half written, hostile or no folder at all. Each file is read with a size limit,
and only if it is a regular file: reading a named pipe could block for ever.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts_store.errors import InvalidFolder
from prompts_store.limits import MAX_CONFIG_BYTES, MAX_FRAME_BYTES, MAX_MANIFEST_BYTES
from prompts_store.strict_json import JsonRefused, parse_object

CONFIG, TENSORS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
_PICKLE = "adapter_model.bin"
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe returns at once


@dataclass(frozen=True, slots=True)
class FolderManifest:
    """The content of `manifest.json`: `fields` of the version, not checked yet, and options of the publish."""

    fields: Mapping[str, Any]
    description: str = ""
    allow_base_mismatch: bool = False


def holds_version(folder: Path) -> bool:
    """Return whether a folder holds a file of a version. True if that cannot be known: reading reports the cause."""
    return any(_is_there(folder / name) for name in (CONFIG, TENSORS, MANIFEST, _PICKLE))


def read_files(folder: Path, *, max_tensor_bytes: int) -> tuple[bytes, bytes]:
    """Return the contents of `adapter_config.json` and `adapter_model.safetensors`, unchecked.

    `max_tensor_bytes` limits the second file without its header. Raises InvalidFolder.
    """
    if _is_there(folder / _PICKLE) and not _is_there(folder / TENSORS):
        raise InvalidFolder(f"{folder / _PICKLE} is a pickle; save the adapter with safe_serialization=True.")
    return (
        _read_regular(folder / CONFIG, MAX_CONFIG_BYTES),
        _read_regular(folder / TENSORS, MAX_FRAME_BYTES + max_tensor_bytes),
    )


def read_manifest(folder: Path) -> FolderManifest:
    """Read a folder's `manifest.json`. Without one, the manifest is empty. Raises InvalidFolder."""
    file = folder / MANIFEST
    return _parse(file, _read_regular(file, MAX_MANIFEST_BYTES)) if _is_there(file) else FolderManifest({})


def read_manifest_file(file: Path) -> FolderManifest:
    """Read a manifest that a person named: any file, also a pipe. Raises InvalidFolder."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    return _parse(file, data)


def _parse(file: Path, data: bytes) -> FolderManifest:
    try:
        # Editors on Windows write a byte order mark, which is no part of the JSON.
        fields = parse_object(data.removeprefix(codecs.BOM_UTF8), max_bytes=MAX_MANIFEST_BYTES)
    except JsonRefused as error:
        raise InvalidFolder(f"{file} {error}.") from error
    description, allow_base_mismatch = fields.pop("description", ""), fields.pop("allow_base_mismatch", False)
    if not isinstance(description, str):
        raise InvalidFolder(f"{file}: description is not a text.")
    if not isinstance(allow_base_mismatch, bool):
        raise InvalidFolder(f"{file}: allow_base_mismatch must be true or false.")
    return FolderManifest(fields, description, allow_base_mismatch)


def _read_regular(file: Path, max_bytes: int) -> bytes:
    try:
        descriptor = os.open(file, _OPEN_FLAGS)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidFolder(f"{file} is not a regular file.")
            if found.st_size > max_bytes:
                raise InvalidFolder(f"{file} has {found.st_size} bytes; the maximum is {max_bytes}.")
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(found.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(file, error) from error


def _is_there(file: Path) -> bool:
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _unreadable(file: Path, error: OSError) -> InvalidFolder:
    return InvalidFolder(f"{file} cannot be read: {error.strerror}.")
