"""What names a base model, and what is said of a name that does not."""

from __future__ import annotations

import os
import shutil

import pytest
from huggingface_hub import constants, errors
from transformers.utils import hub

from server.base_model_source import find_origin, read_base_model
from server.demo import BASE_DIR
from server.model.base_model import BaseModelOptions, load_skeleton
from server.model.errors import BaseModelUnavailable
from server.model.loading import source as source_module
from server.settings import ServeSettings

COMMIT, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub's cache that holds the demo model as `org/base`, at two commits."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--org--base"
    for commit in (COMMIT, OTHER):
        shutil.copytree(BASE_DIR, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository


def describe(base_model, tmp_path, **settings):
    return read_base_model(ServeSettings(base_model=base_model, data_dir=tmp_path / "data", **settings))


def test_a_hub_id_is_read_from_the_cache(cache, tmp_path):
    """Offline, by its branch, by a commit, and by the path of the snapshot: one model, one fingerprint."""
    expected = describe(str(BASE_DIR), tmp_path)
    for base in (
        describe("org/base", tmp_path),
        describe("org/base", tmp_path, revision=OTHER),
        describe(str(cache / "snapshots" / OTHER), tmp_path),
    ):
        assert base.fingerprint == expected.fingerprint
        assert "org/base" in base.names


@pytest.mark.parametrize("given", ["~/mine", "mine", "./mine/"])
def test_a_folder_is_read_by_any_spelling(given, tmp_path, monkeypatch):
    """From the home folder and from the working folder, with a name of its own."""
    shutil.copytree(BASE_DIR, tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    base = describe(given, tmp_path, base_names=("org/name",))
    assert base.fingerprint == describe(str(BASE_DIR), tmp_path).fingerprint
    assert find_origin(ServeSettings(base_model=given, base_names=("org/name",))).base_id == "org/name"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mine", "there is no folder 'mine' here, the hub's cache does not hold it, and HF_HUB_OFFLINE is set"),
        ("org/mine", "fetch it with: hf download org/mine$"),
        ("~/mine", "there is no folder '~/mine'$"),
        ("./mine", "there is no folder './mine'$"),
        ("a/b/c", "there is no folder 'a/b/c', and it is no hub id"),
        ("my model", "there is no folder 'my model', and it is no hub id"),
        ("https://huggingface.co/org/mine/tree/main", "is an address: name the hub id alone, 'org/mine'$"),
        ("s3://bucket/mine", "is an address: name the hub id alone$"),
        ("empty", "the folder 'empty' holds no config.json"),
        ("model.safetensors", "'model.safetensors' is a file: name the folder"),
        ("none.gguf", "there is no file 'none.gguf'"),
    ],
)
def test_a_name_of_nothing_is_said(given, said, tmp_path, monkeypatch):
    """With what would name a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BaseModelUnavailable, match=said):
        describe(given, tmp_path)


def test_a_repository_of_the_cache_is_no_folder_of_a_model(cache):
    """Its snapshot is."""
    with pytest.raises(BaseModelUnavailable, match=f"name its snapshot, '.*{OTHER}'"):
        load_skeleton(BaseModelOptions(str(cache)))


def test_a_revision_names_a_version_of_a_hub_id_alone(cache, tmp_path):
    """A folder has no versions, and the cache holds those that were fetched."""
    for local in (str(BASE_DIR), "some.gguf"):
        with pytest.raises(BaseModelUnavailable, match="is local, and --revision chooses a version of a hub id"):
            load_skeleton(BaseModelOptions(local, revision="v1"))
    with pytest.raises(BaseModelUnavailable, match="hf download org/base --revision v1"):
        load_skeleton(BaseModelOptions("org/base", revision="v1"))


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (errors.GatedRepoError, "accepted its terms: accept them there, and set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "the hub has no such model; a private one needs HF_TOKEN"),
        (errors.RevisionNotFoundError, "has no branch, tag or commit 'v1'"),
        (errors.LocalEntryNotFoundError, "HF_HUB_OFFLINE is set"),
        (errors.EntryNotFoundError, "holds no config.json"),
        (RuntimeError, "did not give it: as transformers says it"),
    ],
)
def test_a_refusal_of_the_hub_is_said(cause, said, monkeypatch):
    """By the cause that the library gives."""

    def refuse(source, revision, name):
        raise OSError("as transformers says it") from cause.__new__(cause)

    monkeypatch.setattr(source_module, "find_file", refuse)
    monkeypatch.setattr("server.model.model_files.find_file", refuse)
    with pytest.raises(BaseModelUnavailable, match=said):
        load_skeleton(BaseModelOptions("org/mine", revision="v1"))


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    """The settings are not to blame then."""
    monkeypatch.setattr(source_module, "is_offline_mode", lambda: False)
    assert hub.is_offline_mode()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(BaseModelUnavailable, match="the hub cannot be reached"):
        load_skeleton(BaseModelOptions("org/mine"))
