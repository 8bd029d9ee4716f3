"""The safetensors container: the library's own files pass unchanged, every spoilt one is refused."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from safetensors.torch import save

from prompts_store.checkpoint.safetensors_format import read_tensors, write_tensors
from prompts_store.checkpoint_records import StoredTensor
from prompts_store.errors import CheckpointTooLarge, InvalidCheckpoint, MalformedTensors, ShapeMismatch
from prompts_store.limits import MAX_HEADER_BYTES
from tests.prompts_store.checkpoints import container

SHAPE = (2, 3)
EXPECTED = {"prompt_embeddings": SHAPE}
ENTRY: dict[str, Any] = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
BODY = np.arange(6, dtype=np.float32).tobytes()
TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read(data: bytes) -> tuple[StoredTensor, ...]:
    return read_tensors(data, EXPECTED, max_tensor_bytes=1000)


def entry(**changes: Any) -> dict[str, Any]:
    return {"prompt_embeddings": ENTRY | changes}


def test_a_valid_file_is_read() -> None:
    (tensor,) = read(container(entry(), BODY))
    assert (tensor.name, tensor.original_dtype) == ("prompt_embeddings", "F32")
    assert tensor.values.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedTensors),
        (b"\0" * 7, MalformedTensors),
        (b"\0" * 8, MalformedTensors),
        (b"\xff" * 8 + b"{}", MalformedTensors),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1), MalformedTensors),
        (container(entry(), BODY)[:20], MalformedTensors),
        (container(entry(), BODY[:-1]), MalformedTensors),
        (container(entry(), BODY + b"\0"), MalformedTensors),
        (container(b"[]", BODY), MalformedTensors),
        (container(b"{}", BODY), MalformedTensors),
        (container(b"\xff{}", BODY), MalformedTensors),
        (container({"other": ENTRY}, BODY), MalformedTensors),
        (container(entry() | {"other": ENTRY}, BODY), MalformedTensors),
        (container(entry() | {"x": {"dtype": "F32", "shape": [0], "data_offsets": [24, 24]}}, BODY), MalformedTensors),
        (container(entry(dtype="F64"), BODY), MalformedTensors),
        (container(entry(dtype="I32"), BODY), MalformedTensors),
        (container(entry(dtype="f32"), BODY), MalformedTensors),
        (container(entry(dtype=["F32"]), BODY), MalformedTensors),
        (container(entry(dtype="F16"), BODY), MalformedTensors),
        (container(entry(shape=[3, 2]), BODY), ShapeMismatch),
        (container(entry(shape=[6]), BODY), ShapeMismatch),
        (container(entry(shape=[1, 2, 3]), BODY), ShapeMismatch),
        (container(entry(shape=[0, 2**60]), b""), ShapeMismatch),
        (container(entry(shape=[2**62, 2**62]), BODY), ShapeMismatch),
        (container(entry(shape=[-2, -3]), BODY), MalformedTensors),
        (container(entry(shape=[2.0, 3]), BODY), MalformedTensors),
        (container(entry(shape=[2, True]), BODY), MalformedTensors),
        (container(entry(shape="23"), BODY), MalformedTensors),
        (container(entry(data_offsets=[0, 23]), BODY), MalformedTensors),
        (container(entry(data_offsets=[0, 25]), BODY), MalformedTensors),
        (container(entry(data_offsets=[4, 28]), BODY + b"\0" * 4), MalformedTensors),
        (container(entry(data_offsets=[24, 0]), BODY), MalformedTensors),
        (container(entry(data_offsets=[-24, 0]), BODY), MalformedTensors),
        (container(entry(data_offsets=[0, 24, 24]), BODY), MalformedTensors),
        (container(entry(data_offsets={"0": 24}), BODY), MalformedTensors),
        (container(entry(extra=1), BODY), MalformedTensors),
        (container({"prompt_embeddings": [1, 2]}, BODY), MalformedTensors),
        (container(entry() | {"__metadata__": {"format": 1}}, BODY), MalformedTensors),
        (container(entry() | {"__metadata__": ["pt"]}, BODY), MalformedTensors),
        (container(entry() | {"__metadata__": {"x": "y" * MAX_HEADER_BYTES}}, BODY), MalformedTensors),
        (b"\0" * 80_000, CheckpointTooLarge),
    ],
)
def test_a_spoilt_file_is_refused(data: bytes, error: type[InvalidCheckpoint]) -> None:
    with pytest.raises(error) as refused:
        read(data)
    assert type(refused.value) is error
    assert refused.value.param == "adapter_model"


def test_a_duplicate_name_is_refused() -> None:
    one = json.dumps(ENTRY)
    head = f'{{"prompt_embeddings": {one}, "prompt_embeddings": {one}}}'.encode()
    with pytest.raises(MalformedTensors, match="duplicate"):
        read(container(head, BODY))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_is_refused(protocol: int) -> None:
    with pytest.raises(MalformedTensors):
        read(pickle.dumps({"prompt_embeddings": [1.0]}, protocol))


def test_what_torch_saves_is_called_a_pickle() -> None:
    with pytest.raises(MalformedTensors, match="is a pickle"):
        read(b"PK\x03\x04" + b"\0" * 100)


def test_two_tensors_may_not_overlap() -> None:
    expected = {"a": SHAPE, "b": SHAPE}
    overlapping = container({"a": ENTRY, "b": ENTRY}, BODY)
    with pytest.raises(MalformedTensors, match="overlap"):
        read_tensors(overlapping, expected, max_tensor_bytes=1000)
    swapped = container({"a": ENTRY | {"data_offsets": [24, 48]}, "b": ENTRY}, BODY + b"\0" * 24)
    a, b = read_tensors(swapped, expected, max_tensor_bytes=1000)
    assert (a.values.max(), b.values.max()) == (0, 5)


def test_the_size_limit_counts_float32_and_comes_first() -> None:
    halves = container(entry(dtype="F16", data_offsets=[0, 12]), BODY[:12])
    assert read_tensors(halves, EXPECTED, max_tensor_bytes=24)
    with pytest.raises(CheckpointTooLarge):
        read_tensors(halves, EXPECTED, max_tensor_bytes=23)
    with pytest.raises(CheckpointTooLarge):
        read_tensors(b"", {"prompt_embeddings": (2**62, 2**62)}, max_tensor_bytes=1000)


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
@settings(deadline=None)
@given(data=st.data())
def test_every_finite_value_survives_to_the_byte(dtype: str, data: st.DataObject) -> None:
    """Bits of every dtype, subnormals and negative zero among them, come back as they were."""
    width = torch.empty(0, dtype=TORCH_DTYPES[dtype]).element_size()
    unsigned, signed = (np.uint32, np.int32) if width == 4 else (np.uint16, np.int16)
    bits = data.draw(numpy_arrays(unsigned, SHAPE))
    tensor = torch.from_numpy(bits.view(signed)).view(TORCH_DTYPES[dtype])
    tensor = torch.where(tensor.isfinite(), tensor, torch.zeros_like(tensor))
    file = save({"prompt_embeddings": tensor}, metadata={"format": "pt"})
    (stored,) = read(file)
    assert stored.values.tobytes() == tensor.float().numpy().tobytes()
    assert write_tensors([stored]) == file


def test_mixed_dtypes_are_written_as_the_library_does() -> None:
    tensors = {
        name: torch.ones(SHAPE, dtype=dtype)
        for name, dtype in zip("dcba", [*TORCH_DTYPES.values(), torch.float32], strict=True)
    }
    file = save(tensors, metadata={"format": "pt"})
    assert write_tensors(read_tensors(file, dict.fromkeys(tensors, SHAPE), max_tensor_bytes=1000)) == file
