"""A version as a folder: a PEFT checkpoint's two files, and `manifest.json` beside them.

The folder comes from outside: it may be half written, hostile or no folder at all. Each file is read with a size limit,
and only if it is a regular file: reading a named pipe could block for ever.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prompts_store.checkpoint.left_out import FileEntries, NeededTensors, needed_tensors
from prompts_store.checkpoint.safetensors_header import ByteSource
from prompts_store.errors import InvalidCheckpoint, InvalidFolder
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES, MAX_CONFIG_BYTES, MAX_FRAME_BYTES, MAX_MANIFEST_BYTES
from prompts_store.strict_json import JsonRefused, parse_object

CONFIG, TENSORS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
PICKLE = "adapter_model.bin"
"""The tensors as old releases of PEFT saved them. Nothing here opens it."""
MAX_WHOLE_BYTES = DEFAULT_MAX_TENSOR_BYTES
"""A file up to this size is read as a whole, so that all its tensors can be checked; a server takes one by default."""
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe returns at once


@dataclass(frozen=True, slots=True)
class FolderManifest:
    """The content of `manifest.json`: `fields` of the version, not checked yet, and options of the publish."""

    fields: Mapping[str, Any]
    description: str = ""
    allow_base_mismatch: bool = False


def holds_version(folder: Path) -> bool:
    """Return whether a folder holds a file of a version. True if that cannot be known: reading reports the cause."""
    return any(_is_there(folder / name) for name in (CONFIG, TENSORS, MANIFEST, PICKLE))


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The two files of a checkpoint, unchecked. `tensors` lacks what is `left_out` already, if anything is."""

    config: bytes
    tensors: bytes
    left_out: FileEntries | None = None


@dataclass(frozen=True, slots=True)
class FileSource:
    """A regular file of which parts are read."""

    file: Path
    num_bytes: int

    @classmethod
    def open(cls, file: Path) -> Self:
        """Return a source with the file's size at present. Raises InvalidFolder unless it is a regular file."""
        with _opened(file) as (_, size):
            return cls(file, size)

    def read(self, begin: int, end: int) -> bytes:
        """See `ByteSource`. Raises InvalidFolder."""
        with _opened(self.file) as (descriptor, _):
            data = os.pread(descriptor, end - begin, begin)
        if len(data) != end - begin:
            raise InvalidFolder(f"{self.file} has become shorter while it was read.")
        return data


def read_files(folder: Path, *, max_tensor_bytes: int) -> FolderFiles:
    """Return the contents of `adapter_config.json` and `adapter_model.safetensors`.

    `max_tensor_bytes` limits the second file without its header. Of a large file, tensors that a soft prompt does not
    need are not read, and do not count. Raises InvalidFolder and InvalidCheckpoint.
    """
    if _is_there(folder / PICKLE) and not _is_there(folder / TENSORS):
        raise InvalidFolder(f"{folder / PICKLE} is a pickle; run `softprompt task convert {folder}` first.")
    config = read_regular(folder / CONFIG, MAX_CONFIG_BYTES)
    file = folder / TENSORS
    needed = read_needed(FileSource.open(file), str(file), max_tensor_bytes=max_tensor_bytes)
    return FolderFiles(config, needed.content, needed.left_out)


def read_needed(source: ByteSource, name: str, *, max_tensor_bytes: int) -> NeededTensors:
    """Return the content of an `adapter_model.safetensors`, of a large one without what a soft prompt does not need.

    `name` stands for the file in errors. Raises InvalidFolder, InvalidCheckpoint, and what the source raises.
    """
    max_bytes = MAX_FRAME_BYTES + max_tensor_bytes
    if source.num_bytes <= min(max_bytes, MAX_WHOLE_BYTES):
        return NeededTensors(source.read(0, source.num_bytes))
    try:
        return needed_tensors(source, max_bytes=max_bytes)
    except InvalidCheckpoint as error:
        if source.num_bytes <= max_bytes:
            raise
        raise InvalidFolder(f"{_too_large(name, source.num_bytes, max_bytes)} {error}") from error


def read_manifest(folder: Path) -> FolderManifest:
    """Read a folder's `manifest.json`. Without one, the manifest is empty. Raises InvalidFolder."""
    file = folder / MANIFEST
    return _parse(file, read_regular(file, MAX_MANIFEST_BYTES)) if _is_there(file) else FolderManifest({})


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


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file, or of one that a link leads to. Raises InvalidFolder."""
    with _limited(file, max_bytes) as (descriptor, size), open(descriptor, "rb", closefd=False) as stream:
        return stream.read(size)


def check_regular(file: Path, max_bytes: int) -> None:
    """Raise InvalidFolder unless a file may be read as `read_regular` would. Its content is not read."""
    with _limited(file, max_bytes):
        pass


@contextmanager
def _limited(file: Path, max_bytes: int) -> Iterator[tuple[int, int]]:
    """As `_opened`, of a file of at most this size."""
    with _opened(file) as (descriptor, size):
        if size > max_bytes:
            raise InvalidFolder(_too_large(file, size, max_bytes))
        yield descriptor, size


@contextmanager
def _opened(file: Path) -> Iterator[tuple[int, int]]:
    """Open a regular file; yield its descriptor and its size in bytes. Raises InvalidFolder."""
    try:
        descriptor = os.open(file, _OPEN_FLAGS)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidFolder(f"{file} is not a regular file.")
            yield descriptor, found.st_size
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(file, error) from error


def _too_large(file: object, num_bytes: int, max_bytes: int) -> str:
    return f"{file} has {num_bytes} bytes; the maximum is {max_bytes}."


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
