"""The header of a GGUF file, read with bounds: metadata and the table of tensors, never their data.

Counts, lengths and offsets of the file are checked before anything of that size is read or allocated, because
transformers and the package `gguf` trust them. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from server.model.errors import BaseModelUnavailable
from server.model.gguf.tensor_types import TENSOR_TYPES, TensorType

MAX_HEADER_BYTES = 64 << 20
MAX_TENSORS = 16_384
MAX_KEYS = 4_096
MAX_ELEMENTS = 2 << 20
"""Of all arrays together: a vocabulary of 262,144 tokens with scores, types and merges has about 1.3 million."""
MAX_STRING_BYTES = 1 << 20
MAX_NAME_BYTES = 256
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 16
_MAX_KEPT_NUMBERS = 4_096

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `shape` as PyTorch has it, the bytes from `begin` to `end` of the file."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    begin: int
    end: int

    @property
    def num_elements(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The metadata and the tensors. Long arrays of numbers are checked, and not in `metadata`."""

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]

    def text(self, key: str) -> str | None:
        """The value of `key` if it is a string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        """The value of `key` if it is an integer."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class _Malformed(ValueError):
    """The file breaks the format, or one of our bounds; the message names the part and the number found."""


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of the file at `path`. Raises `BaseModelUnavailable`."""
    try:
        with path.open("rb") as file:
            return _read(_Cursor(file, os.fstat(file.fileno()).st_size))
    except _Malformed as error:
        raise BaseModelUnavailable(f"the GGUF file {str(path)!r} cannot be used: {error}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BaseModelUnavailable(f"the GGUF file {str(path)!r} cannot be read: {reason}") from error


class _Cursor:
    """Reads forward through the header, never beyond the file's end or the header's bound."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0
        self._num_elements = 0

    def take(self, num_bytes: int) -> bytes:
        self._advance(num_bytes)
        data = self._file.read(num_bytes)
        if len(data) != num_bytes:
            raise _Malformed("it ends within its header")
        return data

    def skip(self, num_bytes: int) -> None:
        self._advance(num_bytes)
        self._file.seek(num_bytes, os.SEEK_CUR)

    def _advance(self, num_bytes: int) -> None:
        self.position += num_bytes
        if self.position > self.size:
            raise _Malformed(f"it ends within its header, at byte {self.size}")
        if self.position > MAX_HEADER_BYTES:
            raise _Malformed(f"its header is longer than {MAX_HEADER_BYTES} bytes")

    def number(self, code: str) -> int:
        value: int = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]
        return value

    def count(self, what: str, limit: int) -> int:
        value = self.number("Q")
        if value > limit:
            raise _Malformed(f"{what} is {value} (allowed: {limit})")
        return value

    def string(self, what: str, limit: int) -> str:
        data = self.take(self.count(f"the length of {what}", limit))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Malformed(f"{what} is no UTF-8") from error

    def count_elements(self, what: str) -> int:
        """The length of an array; all arrays together are bounded."""
        value = self.count(f"the length of {what}", MAX_ELEMENTS)
        self._num_elements += value
        if self._num_elements > MAX_ELEMENTS:
            raise _Malformed(f"its arrays have more than {MAX_ELEMENTS} elements")
        return value


def _read(cursor: _Cursor) -> GgufHeader:
    if cursor.size < 24 or cursor.take(4) != b"GGUF":
        raise _Malformed("it does not begin as a GGUF file does")
    if (version := cursor.number("I")) not in _VERSIONS:
        raise _Malformed(f"its format has version {version} (allowed: 2 and 3)")
    num_tensors = cursor.count("the number of tensors", MAX_TENSORS)
    num_keys = cursor.count("the number of metadata keys", MAX_KEYS)
    metadata: dict[str, Value] = {}
    seen: set[str] = set()
    for _ in range(num_keys):
        key = cursor.string("a metadata key", MAX_NAME_BYTES)
        if key in seen:
            raise _Malformed(f"the metadata key {key!r} stands there twice")
        seen.add(key)
        if (value := _read_value(cursor, key)) is not None:
            metadata[key] = value
    return GgufHeader(metadata, _read_tensors(cursor, num_tensors, _alignment(metadata)))


def _read_value(cursor: _Cursor, key: str) -> Value | None:
    """One value; None for a long array of numbers."""
    what = f"the metadata {key!r}"
    kind = cursor.number("I")
    if kind == _STRING:
        return cursor.string(what, MAX_STRING_BYTES)
    if kind in _NUMBERS:
        return _numbers(cursor.take(struct.calcsize(f"<{_NUMBERS[kind]}")), _NUMBERS[kind], what)[0]
    if kind != _ARRAY:
        raise _Malformed(f"{what} has the unknown type {kind}")
    kind = cursor.number("I")
    if kind == _ARRAY:
        raise _Malformed(f"{what} is an array of arrays, which transformers does not read")
    if kind != _STRING and kind not in _NUMBERS:
        raise _Malformed(f"{what} is an array of the unknown type {kind}")
    length = cursor.count_elements(what)
    if kind == _STRING:
        return tuple(cursor.string(f"a string of {what}", MAX_STRING_BYTES) for _ in range(length))
    num_bytes = length * struct.calcsize(f"<{_NUMBERS[kind]}")
    if length > _MAX_KEPT_NUMBERS:
        cursor.skip(num_bytes)
        return None
    return _numbers(cursor.take(num_bytes), _NUMBERS[kind], what)


def _numbers(data: bytes, code: str, what: str) -> tuple[int | float | bool, ...]:
    if code == "?" and data.strip(b"\0\1"):
        raise _Malformed(f"{what} is neither true nor false")
    return struct.unpack(f"<{len(data) // struct.calcsize(f'<{code}')}{code}", data)


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 8 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise _Malformed(f"its alignment is {value!r} (allowed: powers of two from 8 to {MAX_ALIGNMENT})")
    return value


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    entries = [_read_entry(cursor, alignment) for _ in range(count)]
    if len({entry.name for entry in entries}) < count:
        raise _Malformed("two of its tensors have one name")
    start = -(-cursor.position // alignment) * alignment
    tensors = tuple(
        Tensor(entry.name, entry.shape, entry.type, start + entry.begin, start + entry.end) for entry in entries
    )
    end = start
    for tensor in sorted(tensors, key=lambda tensor: tensor.begin):
        if tensor.begin < end:
            raise _Malformed(f"the tensor {tensor.name!r} overlaps another")
        end = tensor.end
        if end > cursor.size:
            raise _Malformed(f"the tensor {tensor.name!r} ends at byte {end}, and the file at byte {cursor.size}")
    return tensors


def _read_entry(cursor: _Cursor, alignment: int) -> Tensor:
    """One line of the table of tensors; `begin` and `end` count from the start of the data."""
    name = cursor.string("a tensor's name", MAX_NAME_BYTES)
    what = f"the tensor {name!r}"
    if not 1 <= (num_dimensions := cursor.number("I")) <= MAX_DIMENSIONS:
        raise _Malformed(f"{what} has {num_dimensions} dimensions (allowed: 1 to {MAX_DIMENSIONS})")
    dimensions = [cursor.number("Q") for _ in range(num_dimensions)]
    kind = cursor.number("I")
    if (tensor_type := TENSOR_TYPES.get(kind)) is None:
        raise _Malformed(f"{what} has the type {kind}, which cannot be dequantised")
    if min(dimensions) < 1 or dimensions[0] % tensor_type.block_size:
        raise _Malformed(f"{what} has the shape {dimensions}, which {tensor_type.name} cannot have")
    num_bytes = math.prod(dimensions) // tensor_type.block_size * tensor_type.num_bytes
    if (offset := cursor.number("Q")) % alignment:
        raise _Malformed(f"{what} begins at byte {offset} of the data, which {alignment} does not divide")
    return Tensor(name, tuple(reversed(dimensions)), tensor_type, offset, offset + num_bytes)
