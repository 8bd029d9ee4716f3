"""The tensors of a safetensors file (safetensors_header.py), as arrays: a strict reader, and a writer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint.safetensors_header import (
    PARAM,
    BytesSource,
    Entry,
    Header,
    check_layout,
    harmless,
    header_bytes,
    read_header,
)
from prompts_store.checkpoint_records import StoredTensor
from prompts_store.errors import CheckpointTooLarge, MalformedTensors, ShapeMismatch
from prompts_store.limits import MAX_FRAME_BYTES

# In the order in which the library writes them.
_ITEM_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
_WRITE_ORDER = tuple(_ITEM_BYTES)
_ROUNDED = {"F64": 8}
"""A dtype that PEFT rounds to float32 where it loads it, and the bytes of a value."""
FLOAT_DTYPES: Mapping[str, int] = _ITEM_BYTES | _ROUNDED
"""The dtypes that are read, and the bytes of a value."""
_SHOWN = 3


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
    header = read_header(BytesSource(data))
    _check_names(header, expected_shapes)
    for entry in header.entries:
        _check_entry(entry, expected_shapes[entry.name])
    check_layout(header, len(data))
    body = memoryview(data)[header.body_begin :]
    return tuple(
        StoredTensor(
            entry.name,
            "F32" if entry.dtype in _ROUNDED else entry.dtype,
            widen(body[entry.begin : entry.end], entry.dtype).reshape(entry.shape),
        )
        for entry in sorted(header.entries, key=lambda entry: entry.name)
    )


def read_shapes(data: bytes) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each tensor, as the header gives them. Raises MalformedTensors."""
    return {entry.name: entry.shape for entry in read_header(BytesSource(data)).entries}


def write_tensors(tensors: Iterable[StoredTensor]) -> bytes:
    """Return a file with the tensors in their original dtypes: the same bytes for the same tensors.

    Order, padding and metadata are those of `safetensors.torch.save_file(..., metadata={"format": "pt"})`.
    """
    body, entries = bytearray(), []
    for tensor in sorted(tensors, key=lambda tensor: (_WRITE_ORDER.index(tensor.original_dtype), tensor.name)):
        begin = len(body)
        body += _narrow(tensor)
        entries.append(Entry(tensor.name, tensor.original_dtype, tensor.values.shape, begin, len(body)))
    return header_bytes(entries) + bytes(body)


def widen(data: memoryview | bytes, dtype: str) -> NDArray[np.float32]:
    """Return the values of a dtype as float32, flat. A value of a narrower dtype is kept, one of F64 is rounded."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # a value that becomes infinite is refused later
        return np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]).astype(np.float32)


def _check_names(header: Header, expected: Mapping[str, tuple[int, ...]]) -> None:
    found = {entry.name for entry in header.entries}
    if missing := [name for name in expected if name not in found]:
        raise MalformedTensors(f"The tensor {missing[0]} is missing.", param=PARAM)
    if others := [name for name in found if name not in expected]:
        needed = ", ".join(expected)
        message = (
            f"The file has unexpected tensors ({listed(others)}); this prompt type has only {needed}. Save the soft "
            "prompt alone, with PEFT's save_pretrained."
        )
        raise MalformedTensors(message, param=PARAM)


def listed(names: Iterable[str]) -> str:
    """Return the first names, as far as they are harmless."""
    shown = sorted(set(map(harmless, names)))
    return ", ".join((*shown[:_SHOWN], "…") if len(shown) > _SHOWN else shown)


def _check_entry(entry: Entry, expected_shape: tuple[int, ...]) -> None:
    item_bytes = FLOAT_DTYPES.get(entry.dtype)
    if item_bytes is None:
        message = f"The dtype of {entry.name} must be F32, F16, BF16 or F64; convert it, and save the file again."
        raise MalformedTensors(message, param=PARAM)
    if entry.shape != expected_shape:
        found = list(entry.shape) if len(entry.shape) == len(expected_shape) else f"{len(entry.shape)} dimensions"
        raise ShapeMismatch(f"{entry.name} has {found}; its shape must be {list(expected_shape)}.", param=PARAM)
    if entry.end - entry.begin != math.prod(expected_shape) * item_bytes:
        raise MalformedTensors(f"The number of bytes of {entry.name} does not fit its shape.", param=PARAM)


def _narrow(tensor: StoredTensor) -> bytes:
    """Return the bytes that `widen` read."""
    if tensor.original_dtype == "BF16":
        bits = np.ascontiguousarray(tensor.values).view(np.uint32) >> 16
        return bits.astype("<u2").tobytes()
    return tensor.values.astype("<f4" if tensor.original_dtype == "F32" else "<f2").tobytes()
