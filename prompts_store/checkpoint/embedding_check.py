"""The comparison of an embedding layer that was saved along with the base model's own.

PEFT loads the saved one in the place of the base model's. If both are equal, leaving it out changes no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from prompts_store.checkpoint.left_out import FileEntries, is_embedding, is_output_layer, uncompared
from prompts_store.checkpoint.safetensors_format import FLOAT_DTYPES, widen
from prompts_store.checkpoint.safetensors_header import PARAM, ByteSource, Entry, harmless
from prompts_store.checkpoint_records import LeftOut
from prompts_store.errors import EmbeddingMismatch, InvalidFolder, MalformedTensors, ShapeMismatch

BaseEmbeddings = Callable[[], Sequence[FileEntries]]
"""Returns the embedding layers in the base model's files; nothing if these are no safetensors files."""

BLOCK_BYTES = 1024 * 1024
MAX_BLOCKS = 64
"""Of rows that are compared: all of a layer of up to 64 MiB as float32, evenly spaced blocks of a larger one."""

_Layer = tuple[ByteSource, Entry]


def check_left_out(left_out: FileEntries | None, base_embeddings: BaseEmbeddings | None) -> tuple[LeftOut, ...]:
    """Return what is left out of a file, after a comparison with the base model where its files allow one.

    Raises MalformedTensors, and ShapeMismatch or EmbeddingMismatch where PEFT would answer with other weights than the
    base model's.
    """
    if left_out is None:
        return ()
    has_embedding = any(is_embedding(entry.name) for entry in left_out.entries)
    files = base_embeddings() if has_embedding and base_embeddings is not None else ()
    layers = [(file.source, entry) for file in files for entry in file.entries]
    return tuple(_checked(left_out.source, entry, layers) for entry in left_out.entries)


def _checked(source: ByteSource, entry: Entry, layers: Sequence[_Layer]) -> LeftOut:
    if not is_embedding(entry.name):
        return uncompared(entry)
    candidates = [layer for layer in _same_role(entry, layers) if layer[1].dtype in FLOAT_DTYPES]
    if not candidates or entry.dtype not in FLOAT_DTYPES:
        return uncompared(entry)
    if entry.num_bytes != math.prod(entry.shape) * FLOAT_DTYPES[entry.dtype]:
        message = f"The number of bytes of {harmless(entry.name)} does not fit its shape."
        raise MalformedTensors(message, param=PARAM)
    fitting = [layer for layer in candidates if layer[1].shape == entry.shape]
    if not fitting:
        raise ShapeMismatch(_other_shape(entry, candidates[0][1]), param=PARAM)
    try:
        is_own = any(_are_equal((source, entry), layer) for layer in fitting)
    except InvalidFolder:  # one of the two files has gone meanwhile
        return uncompared(entry)
    if not is_own:
        raise EmbeddingMismatch(_other_values(entry), param=PARAM)
    return LeftOut(entry.name, entry.num_bytes, is_embedding=True, was_compared=True)


def _same_role(entry: Entry, layers: Sequence[_Layer]) -> Sequence[_Layer]:
    """Return the base model's layers of the same use. Its files lack an output layer that is its input layer too."""
    is_output, part = is_output_layer(entry.name), entry.name.rpartition(".")[2]
    same_part = [layer for layer in layers if layer[1].name.rpartition(".")[2] == part]
    found = [layer for layer in same_part if is_output_layer(layer[1].name) is is_output]
    return found or (same_part if is_output else [])


def _are_equal(left: _Layer, right: _Layer) -> bool:
    """Return whether the compared rows of two layers of one shape are equal, up to a rounding in 16 bits."""
    num_values = left[1].num_bytes // FLOAT_DTYPES[left[1].dtype]
    row = num_values // max(1, left[1].shape[0]) if left[1].shape else num_values
    return all(
        _is_rounding(_values(left, begin, end), _values(right, begin, end)) for begin, end in _blocks(num_values, row)
    )


def _blocks(num_values: int, row: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of values, each of whole rows and of about BLOCK_BYTES as float32; the last ones are among them."""
    size = max(1, BLOCK_BYTES // 4 // max(1, row)) * max(1, row)
    num_blocks = -(-num_values // size)
    chosen = range(num_blocks) if num_blocks <= MAX_BLOCKS else np.linspace(0, num_blocks - 1, MAX_BLOCKS).astype(int)
    for block in map(int, chosen):
        yield block * size, min((block + 1) * size, num_values)


def _values(layer: _Layer, begin: int, end: int) -> NDArray[np.float32]:
    source, entry = layer
    item_bytes = FLOAT_DTYPES[entry.dtype]
    return widen(source.read(entry.begin + begin * item_bytes, entry.begin + end * item_bytes), entry.dtype)


def _is_rounding(saved: NDArray[np.float32], own: NDArray[np.float32]) -> bool:
    """Return whether the saved values are the base model's own, or these rounded: PEFT saves what was loaded."""
    half, brain = _as_float16(own), _as_bfloat16(own)
    forms = (own, half, brain, _as_bfloat16(half), _as_float16(brain))
    return any(np.array_equal(saved, form, equal_nan=True) for form in forms)


def _as_float16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def _as_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to nearest, ties to even, by integers: NumPy has no bfloat16."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def _other_shape(saved: Entry, own: Entry) -> str:
    return (
        f"The file holds an embedding layer ({harmless(saved.name)}) of the shape {list(saved.shape)}; the base "
        f"model's has {list(own.shape)}. The soft prompt was trained on a base model with another vocabulary: "
        "serve that one."
    )


def _other_values(saved: Entry) -> str:
    return (
        f"The file holds an embedding layer ({harmless(saved.name)}) with other values than the base model's. PEFT "
        "would answer with them, and the base model here is frozen. Save the model that was trained on with its "
        "embedding layer, and serve it as the base model."
    )
