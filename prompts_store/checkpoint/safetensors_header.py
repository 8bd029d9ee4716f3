"""The header of a safetensors file (https://github.com/huggingface/safetensors#format), read strictly, without NumPy.

A file is the header's length (unsigned 64-bit little-endian), the header (JSON), and the tensors' bytes without a gap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Protocol

from prompts_store.errors import MalformedTensors
from prompts_store.limits import MAX_HEADER_BYTES
from prompts_store.strict_json import JsonRefused, parse_object

PARAM = "adapter_model"
LENGTH_BYTES = 8

_QUOTABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_METADATA = "__metadata__"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class ByteSource(Protocol):
    """A file of which parts are read, wherever it lies."""

    @property
    def num_bytes(self) -> int:
        """Size of the whole file in bytes."""

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` up to `end`. Raises StoreError or CliError if they cannot be read."""


@dataclass(frozen=True, slots=True)
class BytesSource:
    """A file in memory."""

    data: bytes

    @property
    def num_bytes(self) -> int:
        """See `ByteSource`."""
        return len(self.data)

    def read(self, begin: int, end: int) -> bytes:
        """See `ByteSource`."""
        return self.data[begin:end]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a header; `begin` and `end` are byte offsets after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def num_bytes(self) -> int:
        """Size of its values in bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of a file in the header's order. Their offsets count from `body_begin`, itself a byte offset."""

    entries: tuple[Entry, ...]
    body_begin: int


def read_header(source: ByteSource, *, max_bytes: int = MAX_HEADER_BYTES) -> Header:
    """Read the header and nothing else. Raises MalformedTensors, and what the source raises."""
    length_field = source.read(0, min(LENGTH_BYTES, source.num_bytes))
    length = int.from_bytes(length_field, "little")
    body_begin = LENGTH_BYTES + length
    if len(length_field) < LENGTH_BYTES or length > max_bytes or body_begin > source.num_bytes:
        if length_field.startswith(_PICKLES):
            message = "The file is a pickle; only safetensors files are read. `softprompt task convert` makes one."
            raise MalformedTensors(message, param=PARAM)
        message = f"The file is no safetensors file, is cut off, or has a header of more than {max_bytes} bytes."
        raise MalformedTensors(message, param=PARAM)
    try:
        header = parse_object(source.read(LENGTH_BYTES, body_begin), max_bytes=max_bytes)
    except JsonRefused as error:
        raise MalformedTensors(f"The safetensors header {error}.", param=PARAM) from error
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedTensors("The safetensors metadata is not a map from texts to texts.", param=PARAM)
    return Header(tuple(_entry(name, fields) for name, fields in header.items()), body_begin)


def check_layout(header: Header, num_bytes: int) -> None:
    """Raise MalformedTensors unless the tensors cover the rest of a file of this size exactly once."""
    spans = sorted((entry.begin, entry.end) for entry in header.entries)
    body_bytes = num_bytes - header.body_begin
    borders = chain([(0, 0)], spans, [(body_bytes, body_bytes)])
    if any(left[1] != right[0] for left, right in pairwise(borders)):
        raise MalformedTensors("The tensors' bytes overlap, leave a gap, or are cut off.", param=PARAM)


def header_bytes(entries: Iterable[Entry]) -> bytes:
    """Return the beginning of a file with these tensors, padded and with the metadata as the library writes it."""
    header: dict[str, Mapping[str, Any]] = {_METADATA: {"format": "pt"}}
    for entry in entries:
        offsets = [entry.begin, entry.end]
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def harmless(name: str) -> str:
    """Return the name of a tensor as an error may show it."""
    return name if _QUOTABLE.fullmatch(name) else "a tensor"


def _entry(name: str, fields: object) -> Entry:
    match fields:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **others} if not others:
            if all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
                return Entry(name, dtype, tuple(shape), begin, end)
    message = "A tensor in the safetensors header lacks its dtype, shape or data_offsets, or has other fields."
    raise MalformedTensors(message, param=PARAM)
