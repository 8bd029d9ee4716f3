"""The weights of safetensors files as tensors that are read when transformers takes them.

A tensor that is served as it is stored is a view of the mapped file, as transformers itself loads it. Any other one is
read into memory of its own, which is freed once transformers has converted it. A mapped one would keep its pages
resident beside its converted copy until the last tensor of the file is loaded.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from server.model.loading.progress import Progress
from server.model.loading.stored_ranges import StoredRange, read_ranges

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16})
_READ_BYTES = 8 << 20
_MAPPED_BYTES = 1 << 20


class StoredTensor:
    """A tensor of an open file, with what transformers uses of safetensors' own slices: `[...]`, dtype and shape.

    A floating-point tensor is widened to the serving dtype while it is read, which loses nothing. transformers narrows
    one that is wider, since only it knows which parameters of a model stay in float32. Its memory is a mapping of its
    own, which goes back to the system with it: freed in the heap, between narrowed tensors, it would stay resident.
    """

    def __init__(self, descriptor: int, stored: StoredRange, serving: torch.dtype, progress: Progress) -> None:
        self._descriptor = descriptor
        self._stored = stored
        self._stored_dtype = dtype = _DTYPES[stored.dtype]
        is_widened = dtype in _FLOATS and torch.promote_types(dtype, serving) == serving
        self._dtype = serving if is_widened else dtype
        self._is_short_lived = self._dtype != serving
        self._progress = progress

    def get_dtype(self) -> str:
        """The stored dtype by the format's name."""
        return self._stored.dtype

    def get_shape(self) -> list[int]:
        """The stored shape."""
        return list(self._stored.shape)

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Read the tensor into memory of its own. Raises ValueError for a file that does not hold all of it."""
        stored = self._stored
        tensor = (_mapped if self._is_short_lived else torch.empty)(stored.shape, dtype=self._dtype)
        if tensor.numel() * self._stored_dtype.itemsize != stored.end - stored.begin:
            raise ValueError(f"the size of {stored.name} does not fit its shape")
        offset = stored.begin
        for part in torch.split(tensor.view(-1), _READ_BYTES // self._stored_dtype.itemsize):
            source = part if part.dtype == self._stored_dtype else torch.empty_like(part, dtype=self._stored_dtype)
            _read(self._descriptor, offset, source)
            if source is not part:
                part.copy_(source)
            offset += source.nbytes
            self._progress(source.nbytes)
        return tensor[index]


class _MappedTensor:
    """A slice of safetensors, which maps the file. Counted when it is taken; its pages are read when they are used."""

    def __init__(self, mapped: Any, num_bytes: int, progress: Progress) -> None:
        self._mapped = mapped
        self._num_bytes = num_bytes
        self._progress = progress
        self.get_dtype, self.get_shape = mapped.get_dtype, mapped.get_shape

    def __getitem__(self, index: Any) -> torch.Tensor:
        tensor: torch.Tensor = self._mapped[index]
        self._progress(self._num_bytes)
        return tensor


@contextmanager
def stored_weights(
    files: Sequence[Path], dtype: torch.dtype, names: Container[str], progress: Progress
) -> Iterator[dict[str, StoredTensor | _MappedTensor]]:
    """The tensors of `files` by name, usable while the context is open.

    `dtype` is the serving dtype. `names` are those of the model's own parameters: a stored tensor by another name is
    renamed or merged into another one by transformers, and read instead of mapped. A later file's tensor replaces an
    earlier one's. Raises OSError, ValueError and SafetensorError.
    """
    weights: dict[str, StoredTensor | _MappedTensor] = {}
    with ExitStack() as stack:
        for file in files:
            mapped = stack.enter_context(safe_open(file, framework="pt"))
            descriptor = stack.enter_context(file.open("rb")).fileno()
            for stored in read_ranges(file):
                is_copied = stored.dtype in _DTYPES and (_DTYPES[stored.dtype] != dtype or stored.name not in names)
                weights[stored.name] = (
                    StoredTensor(descriptor, stored, dtype, progress)
                    if is_copied
                    else _MappedTensor(mapped.get_slice(stored.name), stored.end - stored.begin, progress)
                )
        yield weights


def _mapped(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An empty tensor in memory outside the heap, unless it is small."""
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes < _MAPPED_BYTES:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, num_bytes), dtype=dtype).view(*shape)


def _read(descriptor: int, offset: int, part: torch.Tensor) -> None:
    """Fill one dimension of numbers from the file. `pread` needs no lock: each call names its offset."""
    view = part.view(torch.uint8).numpy().data
    done = 0
    while done < len(view):
        num_bytes = os.preadv(descriptor, [view[done:]], offset + done)
        if not num_bytes:
            raise ValueError("the file has become shorter")
        done += num_bytes
