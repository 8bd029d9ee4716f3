"""Files of keys and values."""

from __future__ import annotations

import json
import os

import pytest
import torch

from softprompt_vllm.errors import InvalidPrefixFile
from softprompt_vllm.prefix_file import path_of, read_header, read_key_values, write_key_values
from tests.softprompt_vllm.fakes import DIGEST, OTHER


@pytest.fixture
def pairs():
    """Two layers of five virtual tokens."""
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randn(5, 2, 3, generator=generator) for _ in "kv") for _ in range(2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_file_is_read_back(tmp_path, pairs, dtype):
    """Bit for bit, and its sizes without its tensors."""
    wanted = [(key.to(dtype), value.to(dtype)) for key, value in pairs]
    path = write_key_values(tmp_path, DIGEST, wanted)
    assert path == path_of(tmp_path, DIGEST)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    header = read_header(path)
    sizes = header.num_virtual_tokens, header.num_layers, header.num_kv_heads, header.head_dim
    assert sizes == (5, 2, 2, 3)
    for found, expected in zip(read_key_values(path), wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_damaged_file_is_refused(tmp_path, pairs):
    """One flipped bit anywhere in the tensors."""
    path = write_key_values(tmp_path, DIGEST, pairs)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidPrefixFile, match="damaged"):
        read_key_values(path)


@pytest.mark.parametrize("cut", [0, 7, 20, -1])
def test_a_truncated_file_is_refused(tmp_path, pairs, cut):
    """A copy that was cut off."""
    path = write_key_values(tmp_path, DIGEST, pairs)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InvalidPrefixFile):
        read_key_values(path)


def test_a_file_under_another_name_is_refused(tmp_path, pairs):
    """The name is the digest that isolates."""
    path = write_key_values(tmp_path, DIGEST, pairs).rename(path_of(tmp_path, OTHER))
    with pytest.raises(InvalidPrefixFile, match="another digest"):
        read_header(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    """With the reason of the operating system."""
    with pytest.raises(InvalidPrefixFile, match="No such file"):
        read_header(path_of(tmp_path, DIGEST))
    path_of(tmp_path, DIGEST).mkdir()
    with pytest.raises(InvalidPrefixFile, match="directory"):
        read_header(path_of(tmp_path, DIGEST))


def test_a_pipe_is_refused_at_once(tmp_path):
    """Opened as a file it would hold vLLM's scheduler until somebody writes."""
    os.mkfifo(path_of(tmp_path, DIGEST))
    with pytest.raises(InvalidPrefixFile, match="not a regular file"):
        read_header(path_of(tmp_path, DIGEST))


_TENSOR = {"dtype": "F32", "shape": [5, 2, 3], "data_offsets": [0, 120]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "not a safetensors"),
        ({}, "not in the format"),
        ({"__metadata__": {"format": "other"}}, "not in the format"),
        ({"k.0": _TENSOR}, "one key and one value"),
        ({"k.1": _TENSOR, "v.1": _TENSOR}, "one key and one value"),
        ({"k.0": _TENSOR, "v.0": _TENSOR | {"shape": [5, 2, 4]}}, "several dtypes or shapes"),
        ({"k.0": _TENSOR, "v.0": 7}, "several dtypes or shapes"),
        ({name: {"dtype": "I64", "shape": [5, 2, 3]} for name in ("k.0", "v.0")}, "of floats"),
        ({name: {"dtype": "F32", "shape": [5, 0, 3]} for name in ("k.0", "v.0")}, "of floats"),
        ({name: {"dtype": "F32", "shape": [5]} for name in ("k.0", "v.0")}, "of floats"),
    ],
)
def test_a_header_of_another_form_is_refused(tmp_path, header, message):
    """Before anything is allocated for it."""
    if header and "__metadata__" not in header:
        header = {"__metadata__": {"format": "softprompt-kv-1", "digest": DIGEST}} | header
    text = json.dumps(header).encode()
    path_of(tmp_path, DIGEST).write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(InvalidPrefixFile, match=message):
        read_header(path_of(tmp_path, DIGEST))
