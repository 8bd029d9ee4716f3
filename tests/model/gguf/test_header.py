"""The header of a GGUF file: what the package `gguf` writes is read, everything else is refused in our words."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from gguf import GGMLQuantizationType, GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from server.model.errors import BaseModelUnavailable
from server.model.gguf.header import MAX_ELEMENTS, MAX_KEYS, MAX_STRING_BYTES, MAX_TENSORS, read_header
from tests.fakes.gguf_files import TOKENS, write_gguf

U32, U64, F32, BOOL, STRING, ARRAY = 4, 10, 6, 7, 8, 9
MAX_PEAK_BYTES = 4 << 20


def text(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: bytes | str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def entry(name: str = "a", dimensions: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


def file_of(*pairs: bytes, tensors: tuple[bytes, ...] = (), data: int = 0, version: int = 3, **counts: int) -> bytes:
    """A file of these parts, with `data` bytes of tensors after the alignment."""
    num_tensors, num_keys = counts.get("num_tensors", len(tensors)), counts.get("num_keys", len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q5_1, GGMLQuantizationType.BF16])
def test_a_good_file_is_read_as_the_package_reads_it(kind, tmp_path):
    """Metadata, and of each tensor its name, type, shape and place."""
    path = write_gguf(tmp_path / "tiny.gguf", {"llama.list": [1, 2, 3]}, kind=kind)
    header, theirs = read_header(path), GGUFReader(path)
    for key, value in header.metadata.items():
        found = theirs.fields[key].contents()
        assert (list(value) if isinstance(value, tuple) else value) == found
    assert header.metadata["tokenizer.ggml.tokens"] == tuple(TOKENS)
    assert header.metadata["llama.list"] == (1, 2, 3)
    for ours, other in zip(header.tensors, theirs.tensors, strict=True):
        assert (ours.name, ours.type.name) == (other.name, other.tensor_type.name)
        assert ours.shape[::-1] == tuple(other.shape)
        assert (ours.begin, ours.end - ours.begin) == (other.data_offset, other.n_bytes)
        assert ours.num_elements == other.n_elements


def test_a_long_array_of_numbers_is_passed_over(tmp_path):
    """Scores and types of tokens are nothing that we need."""
    header = read_header(write_gguf(tmp_path / "tiny.gguf", {"tokenizer.ggml.scores": [0.5] * 5000}))
    assert "tokenizer.ggml.scores" not in header.metadata
    assert header.tensors[-1].end == (tmp_path / "tiny.gguf").stat().st_size


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "does not begin"),
        (b"GGUF", "does not begin"),
        (b"PK\3\4" + bytes(100), "does not begin"),
        (file_of(version=1), "version 1 "),
        (file_of(version=3 << 24), "version 50331648"),
        (file_of(num_tensors=MAX_TENSORS + 1), "number of tensors is 16385"),
        (file_of(num_tensors=1), "ends within its header"),
        (file_of(num_keys=MAX_KEYS + 1), "number of metadata keys is 4097"),
        (file_of(num_keys=2**64 - 1), "number of metadata keys"),
        (file_of(num_keys=1), "ends within its header"),
        (file_of(struct.pack("<Q", 2**63)), "length of a metadata key is 9223372036854775808"),
        (file_of(pair(b"\xff", U32, bytes(4))), "a metadata key is no UTF-8"),
        (file_of(pair("a", U32, bytes(4)), pair("a", U32, bytes(4))), "'a' stands there twice"),
        (file_of(pair("a", 13, bytes(8))), "unknown type 13"),
        (file_of(pair("a", BOOL, b"\2")), "neither true nor false"),
        (file_of(pair("a", STRING, struct.pack("<Q", MAX_STRING_BYTES + 1))), "length of the metadata 'a' is 1048577"),
        (file_of(pair("a", STRING, struct.pack("<Q", 1000))), "ends within its header"),
        (file_of(pair("a", STRING, text(b"\xc3"))), "no UTF-8"),
        (file_of(pair("a", ARRAY, struct.pack("<IQ", ARRAY, 1))), "array of arrays"),
        (file_of(pair("a", ARRAY, struct.pack("<IQ", 77, 1))), "unknown type 77"),
        (file_of(pair("a", ARRAY, struct.pack("<IQ", STRING, MAX_ELEMENTS + 1))), "length of the metadata 'a'"),
        (file_of(pair("a", ARRAY, struct.pack("<IQ", U64, MAX_ELEMENTS))), "ends within its header"),
        (file_of(pair("a", ARRAY, struct.pack("<IQ", STRING, 9))), "ends within its header"),
        (file_of(pair("general.alignment", U32, struct.pack("<I", 0))), "alignment is 0"),
        (file_of(pair("general.alignment", U32, struct.pack("<I", 48))), "alignment is 48"),
        (file_of(pair("general.alignment", F32, struct.pack("<f", 32))), "alignment is 32.0"),
        (file_of(tensors=(entry(dimensions=()),)), "0 dimensions"),
        (file_of(tensors=(entry(dimensions=(1,) * 5),)), "5 dimensions"),
        (file_of(tensors=(entry(dimensions=(0, 4)),)), r"shape \[0, 4\]"),
        (file_of(tensors=(entry(dimensions=(33,), kind=8),)), r"shape \[33\], which Q8_0 cannot have"),
        (file_of(tensors=(entry(kind=15),)), "'a' has the type 15, which cannot be dequantised"),
        (file_of(tensors=(entry(kind=4_000_000_000),)), "type 4000000000"),
        (file_of(tensors=(entry(offset=8),), data=500), "begins at byte 8"),
        (file_of(tensors=(entry(dimensions=(2**60, 2**60)),), data=500), "ends at byte"),
        (file_of(tensors=(entry(),), data=127), "ends at byte"),
        (file_of(tensors=(entry(offset=2**63),), data=500), "ends at byte"),
        (file_of(tensors=(entry("a"), entry("b", offset=96)), data=500), "'b' overlaps another"),
        (file_of(tensors=(entry(), entry(offset=128)), data=500), "have one name"),
    ],
)
def test_what_breaks_the_format_is_refused_in_words(data, said, tmp_path):
    """Each count, length, type, shape and place that a file states has its bound."""
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(BaseModelUnavailable, match=rf"bad\.gguf' cannot be used: .*{said}"):
        read_header(tmp_path / "bad.gguf")


def test_arrays_are_bounded_together(tmp_path, monkeypatch):
    """Many arrays of a length that is allowed are one array too long."""
    monkeypatch.setattr("server.model.gguf.header.MAX_ELEMENTS", 100)
    with pytest.raises(BaseModelUnavailable, match="more than 100 elements"):
        arrays = [pair(name, ARRAY, struct.pack("<IQ", U32, 60) + bytes(240)) for name in "ab"]
        (tmp_path / "bad.gguf").write_bytes(file_of(*arrays))
        read_header(tmp_path / "bad.gguf")


def test_the_header_is_bounded(tmp_path, monkeypatch):
    """Whatever it is made of."""
    monkeypatch.setattr("server.model.gguf.header.MAX_HEADER_BYTES", 100)
    (tmp_path / "bad.gguf").write_bytes(file_of(pair("a", STRING, text("x" * 100))))
    with pytest.raises(BaseModelUnavailable, match="longer than 100 bytes"):
        read_header(tmp_path / "bad.gguf")


def test_a_file_that_cannot_be_opened_is_said(tmp_path):
    """A folder stands where the file should be."""
    with pytest.raises(BaseModelUnavailable, match="cannot be read: "):
        read_header(tmp_path)


def read_mutant(path, data):
    """Only a refusal of ours may come of it, in little memory."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        read_header(path)
    except BaseModelUnavailable:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MAX_PEAK_BYTES


NUMBERS = st.sampled_from([0, 1, 8, 9, 255, 2**16, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1])


@given(
    at=st.lists(st.tuples(st.integers(0, 9000), st.one_of(st.binary(max_size=9), NUMBERS)), max_size=4),
    end=st.one_of(st.none(), st.integers(0, 9000)),
)
@settings(max_examples=200, deadline=None)
def test_a_spoilt_file_is_read_or_refused(good, at, end):
    """Bytes and lengths put in anywhere, or an early end."""
    data = bytearray(good.read_bytes())
    for place, value in at:
        new = value.to_bytes(8, "little") if isinstance(value, int) else value
        data[place : place + len(new)] = new
    read_mutant(good.with_name("mutant.gguf"), bytes(data if end is None else data[:end]))
