"""The safetensors container (https://github.com/huggingface/safetensors#format): a strict reader, and a writer.

A file is the header's length (unsigned 64-bit little-endian), the header (JSON), and the tensors' bytes without a gap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompts_store.errors import CheckpointTooLarge, MalformedTensors, ShapeMismatch
from prompts_store.limits import MAX_FRAME_BYTES, MAX_HEADER_BYTES
from prompts_store.records import StoredTensor
from prompts_store.strict_json import JsonRefused, parse_object

PARAM = "adapter_model"

# In the order in which the library writes them.
_ITEM_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
_WRITE_ORDER = tuple(_ITEM_BYTES)
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor of a header; `begin` and `end` are byte offsets after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensors(
    data: bytes, expected_shapes: Mapping[str, tuple[int, ...]], *, max_tensor_bytes: int
) -> tuple[StoredTensor, ...]:
    """Return exactly the expected tensors, sorted by name, as float32.

    Nothing is allocated before the whole header has been checked; `max_tensor_bytes` counts the tensors as float32.
    Raises MalformedTensors, ShapeMismatch and CheckpointTooLarge.
    """
    float32_bytes = 4 * sum(math.prod(shape) for shape in expected_shapes.values())
    if float32_bytes > max_tensor_bytes or len(data) > MAX_FRAME_BYTES + max_tensor_bytes:
        raise CheckpointTooLarge(f"The tensors take more than {max_tensor_bytes} bytes as float32.", param=PARAM)
    header, body = _split(data)
    entries = [_entry(name, fields) for name, fields in header.items()]
    _check_names(header, expected_shapes)
    for entry in entries:
        _check_entry(entry, expected_shapes[entry.name])
    _check_layout(entries, len(body))
    return tuple(
        StoredTensor(entry.name, entry.dtype, _widen(body[entry.begin : entry.end], entry))
        for entry in sorted(entries, key=lambda entry: entry.name)
    )


def write_tensors(tensors: Iterable[StoredTensor]) -> bytes:
    """Return a file with the tensors in their original dtypes: the same bytes for the same tensors.

    Order, padding and metadata are those of `safetensors.torch.save_file(..., metadata={"format": "pt"})`.
    """
    header: dict[str, Any] = {_METADATA: {"format": "pt"}}
    body = bytearray()
    for tensor in sorted(tensors, key=lambda tensor: (_WRITE_ORDER.index(tensor.original_dtype), tensor.name)):
        begin = len(body)
        body += _narrow(tensor)
        header[tensor.name] = {
            "dtype": tensor.original_dtype,
            "shape": list(tensor.values.shape),
            "data_offsets": [begin, len(body)],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + bytes(body)


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header without its metadata, and the tensors' bytes."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or length > MAX_HEADER_BYTES or begin > len(data):
        if data.startswith(_PICKLES):
            raise MalformedTensors("The file is a pickle; only safetensors files are read.", param=PARAM)
        message = f"The file is no safetensors file, is cut off, or has a header of more than {MAX_HEADER_BYTES} bytes."
        raise MalformedTensors(message, param=PARAM)
    try:
        header = parse_object(data[_LENGTH_BYTES:begin], max_bytes=MAX_HEADER_BYTES)
    except JsonRefused as error:
        raise MalformedTensors(f"The safetensors header {error}.", param=PARAM) from error
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedTensors("The safetensors metadata is not a map from texts to texts.", param=PARAM)
    return header, memoryview(data)[begin:]


def _entry(name: str, fields: object) -> _Entry:
    match fields:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **others} if not others:
            if all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
                return _Entry(name, dtype, tuple(shape), begin, end)
    message = "A tensor in the safetensors header lacks its dtype, shape or data_offsets, or has other fields."
    raise MalformedTensors(message, param=PARAM)


def _check_names(header: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    missing = [name for name in expected if name not in header]
    if missing:
        raise MalformedTensors(f"The tensor {missing[0]} is missing.", param=PARAM)
    if len(header) > len(expected):
        names = ", ".join(expected)
        raise MalformedTensors(f"The file has unexpected tensors; this prompt type has only {names}.", param=PARAM)


def _check_entry(entry: _Entry, expected_shape: tuple[int, ...]) -> None:
    if entry.dtype not in _ITEM_BYTES:
        raise MalformedTensors(f"The dtype of {entry.name} must be F32, F16 or BF16.", param=PARAM)
    if entry.shape != expected_shape:
        found = list(entry.shape) if len(entry.shape) == len(expected_shape) else f"{len(entry.shape)} dimensions"
        raise ShapeMismatch(f"{entry.name} has {found}; its shape must be {list(expected_shape)}.", param=PARAM)
    if entry.end - entry.begin != math.prod(expected_shape) * _ITEM_BYTES[entry.dtype]:
        raise MalformedTensors(f"The number of bytes of {entry.name} does not fit its shape.", param=PARAM)


def _check_layout(entries: Iterable[_Entry], body_bytes: int) -> None:
    """Raise MalformedTensors unless the tensors cover the bytes after the header exactly once."""
    spans = sorted((entry.begin, entry.end) for entry in entries)
    borders = chain([(0, 0)], spans, [(body_bytes, body_bytes)])
    if any(left[1] != right[0] for left, right in pairwise(borders)):
        raise MalformedTensors("The tensors' bytes overlap, leave a gap, or are cut off.", param=PARAM)


def _widen(data: memoryview, entry: _Entry) -> NDArray[np.float32]:
    """Return float32 values of the entry's shape; every value of a narrower dtype is a float32 value."""
    if entry.dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, "<f4" if entry.dtype == "F32" else "<f2").astype(np.float32)
    return values.reshape(entry.shape)


def _narrow(tensor: StoredTensor) -> bytes:
    """Return the bytes that _widen read."""
    if tensor.original_dtype == "BF16":
        bits = np.ascontiguousarray(tensor.values).view(np.uint32) >> 16
        return bits.astype("<u2").tobytes()
    return tensor.values.astype("<f4" if tensor.original_dtype == "F32" else "<f2").tobytes()
