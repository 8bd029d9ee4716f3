"""A version as a folder: read with a bound, never waited for, and refused with the file's path."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from prompts_store.checkpoint.folder import (
    CONFIG,
    MANIFEST,
    TENSORS,
    FolderFiles,
    FolderManifest,
    holds_version,
    read_files,
    read_manifest,
)
from prompts_store.errors import InvalidFolder
from prompts_store.limits import MAX_CONFIG_BYTES, MAX_FRAME_BYTES, MAX_MANIFEST_BYTES

LIMIT = 1024


def _sparse(path: Path, num_bytes: int) -> None:
    path.touch()
    os.truncate(path, num_bytes)


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # the path of a socket may be 107 bytes long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


HOSTILE_FILES = {
    "a named pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": _socket,
    "a link in a circle": lambda path: path.symlink_to(path.name),
    "a terabyte": lambda path: _sparse(path, 2**40),
}


@pytest.mark.parametrize("name", [CONFIG, TENSORS, MANIFEST])
@pytest.mark.parametrize("make", HOSTILE_FILES.values(), ids=HOSTILE_FILES)
def test_what_is_no_file_of_reasonable_size_is_refused_unread(tmp_path, monkeypatch, name, make):
    """A pipe without a writer would be waited for without end."""
    monkeypatch.chdir(tmp_path)
    for other in {CONFIG, TENSORS, MANIFEST} - {name}:
        (tmp_path / other).write_text("{}")
    make(tmp_path / name)
    assert holds_version(tmp_path)
    with pytest.raises(InvalidFolder, match=name):
        read_manifest(tmp_path)
        read_files(tmp_path, max_tensor_bytes=LIMIT)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 5_000, "not valid JSON"),
        (b'{"metrics":' * 5_000 + b"1" + b"}" * 5_000, "not valid JSON"),
        (b'{"metrics":' * 100 + b"1" + b"}" * 100, "nests deeper"),
        (b'{"note": "a", "note": "b"}', "duplicate key"),
        (b'{"metrics": {"loss": NaN}}', "NaN"),
        (b'{"note": "\xff"}', "not valid JSON"),
        ('{"note": "a"}'.encode("utf-16"), "not valid JSON"),
        (b'{"note": "\\ud800"}', "surrogate"),
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"description": 3}', "description is not a text"),
        (b'{"allow_base_mismatch": "yes"}', "allow_base_mismatch must be true or false"),
        (b" " * MAX_MANIFEST_BYTES + b"{}", f"the maximum is {MAX_MANIFEST_BYTES}"),
    ],
)
def test_a_manifest_is_read_strictly(tmp_path, content, problem):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(InvalidFolder, match=problem) as refused:
        read_manifest(tmp_path)
    assert str(tmp_path / MANIFEST) in str(refused.value)


def test_a_manifest_says_what_the_version_is_and_how_it_is_published(tmp_path):
    """A byte order mark, as editors on Windows write it, changes nothing; a folder without a manifest says nothing."""
    assert read_manifest(tmp_path) == FolderManifest({})
    fields = {"labels": ["a", "b"], "description": "How.", "allow_base_mismatch": True}
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / MANIFEST).write_bytes(mark + json.dumps(fields).encode())
        assert read_manifest(tmp_path) == FolderManifest({"labels": ["a", "b"]}, "How.", allow_base_mismatch=True)


def test_the_limit_of_a_file_is_exact(tmp_path):
    (tmp_path / TENSORS).write_bytes(b"tensors")
    (tmp_path / CONFIG).write_bytes(b" " * MAX_CONFIG_BYTES)
    assert read_files(tmp_path, max_tensor_bytes=LIMIT) == FolderFiles(b" " * MAX_CONFIG_BYTES, b"tensors")
    (tmp_path / CONFIG).write_bytes(b" " * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(InvalidFolder, match=f"has {MAX_CONFIG_BYTES + 1} bytes; the maximum is {MAX_CONFIG_BYTES}"):
        read_files(tmp_path, max_tensor_bytes=LIMIT)
    (tmp_path / CONFIG).write_bytes(b"{}")
    (tmp_path / TENSORS).write_bytes(b" " * (MAX_FRAME_BYTES + LIMIT))
    assert len(read_files(tmp_path, max_tensor_bytes=LIMIT).tensors) == MAX_FRAME_BYTES + LIMIT
    with pytest.raises(
        InvalidFolder, match=f"has {MAX_FRAME_BYTES + LIMIT} bytes; the maximum is {MAX_FRAME_BYTES + LIMIT - 1}"
    ):
        read_files(tmp_path, max_tensor_bytes=LIMIT - 1)


def test_links_to_files_are_followed(tmp_path):
    """As Kubernetes mounts a ConfigMap."""
    for name in (CONFIG, TENSORS, MANIFEST):
        (tmp_path / "..data").mkdir(exist_ok=True)
        (tmp_path / "..data" / name).write_bytes(b"{}")
        (tmp_path / name).symlink_to(Path("..data") / name)
    assert read_files(tmp_path, max_tensor_bytes=LIMIT) == FolderFiles(b"{}", b"{}")
    assert read_manifest(tmp_path) == FolderManifest({})


def test_a_pickle_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "adapter_model.bin").touch()
    assert holds_version(tmp_path)
    with pytest.raises(InvalidFolder, match=r"run `softprompt task convert .*` first"):
        read_files(tmp_path, max_tensor_bytes=LIMIT)


def test_what_cannot_be_looked_into_is_refused_when_it_is_read(tmp_path, monkeypatch):
    """It is not passed over without a word."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    assert not holds_version(tmp_path)
    with monkeypatch.context() as patch:  # the tests may run as root, whom no permission stops
        patch.setattr(os, "lstat", refuse)
        assert holds_version(tmp_path)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InvalidFolder, match=f"{CONFIG} cannot be read: Permission denied"):
        read_files(tmp_path, max_tensor_bytes=LIMIT)


def test_a_file_that_is_missing_is_said(tmp_path):
    (tmp_path / CONFIG).write_bytes(b"{}")
    with pytest.raises(InvalidFolder, match=f"{TENSORS} cannot be read: No such file"):
        read_files(tmp_path, max_tensor_bytes=LIMIT)
