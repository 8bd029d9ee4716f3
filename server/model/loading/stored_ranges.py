"""The tensors that a safetensors file of a base model names, and the check that the file is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prompts_store.checkpoint.folder import FileSource
from prompts_store.checkpoint.safetensors_header import Header, read_header
from prompts_store.errors import StoreError

_MAX_HEADER_BYTES = 100_000_000  # the library's own limit
_LFS_POINTER = b"version https://git-lfs"
_AGAIN = "Download or copy it again."


@dataclass(frozen=True, slots=True)
class StoredRange:
    """One tensor of a file: its dtype by the format's name, its shape, and its first and last byte in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_ranges(file: Path) -> Sequence[StoredRange]:
    """The tensors of a file, in the header's order. Raises OSError, and ValueError naming a file that is not whole."""
    source = FileSource(file, file.stat().st_size)
    header = read_weights_header(source)
    begin = header.body_begin
    expected = max((begin + entry.end for entry in header.entries), default=begin)
    if source.num_bytes != expected:
        raise ValueError(f"{file.name} has {source.num_bytes} bytes, and its header says {expected}. {_AGAIN}")
    return [
        StoredRange(entry.name, entry.dtype, entry.shape, begin + entry.begin, begin + entry.end)
        for entry in header.entries
    ]


def read_weights_header(source: FileSource) -> Header:
    """The header of a base model's file. Raises ValueError for a file that has none, or not all of it."""
    file = source.file
    try:
        if source.read(0, min(len(_LFS_POINTER), source.num_bytes)) == _LFS_POINTER:
            raise ValueError(f"{file.name} is a pointer of Git LFS, not the file itself: fetch it with: git lfs pull")
        return read_header(source, max_bytes=_MAX_HEADER_BYTES)
    except StoreError as error:
        raise ValueError(f"{file.name} has {source.num_bytes} bytes, and no whole header. {error} {_AGAIN}") from error
