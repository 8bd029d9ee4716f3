"""The source of the base model, and the names that mean it."""

from __future__ import annotations

import pytest

from prompts_store.base_names import is_base_name
from server.base_model_source import find_origin
from server.demo import BASE_DIR
from server.settings import ServeSettings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `v3` in the working folder, and a link `current` to it."""
    (tmp_path / "v3").mkdir()
    (tmp_path / "current").symlink_to("v3")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "v3"


@pytest.mark.parametrize("given", ["v3", "./v3/", "current", "../{parent}/v3"])
def test_a_folder_is_named_by_its_path_however_it_was_given(folder, given):
    """Its public name stays the folder's own."""
    origin = find_origin(ServeSettings(base_model=given.format(parent=folder.parent.name)))
    assert origin.base_id == "v3"
    assert is_base_name(str(folder), origin.names)
    assert is_base_name(f"{folder}/", origin.names)


def test_a_linked_folder_is_named_by_the_link_too(folder):
    """With the path of the link."""
    origin = find_origin(ServeSettings(base_model="current"))
    assert {str(folder), str(folder.parent / "current")} <= set(origin.names)


def test_a_snapshot_of_a_hub_cache_is_named_by_its_hub_id(tmp_path):
    """The name that a checkpoint of another machine has."""
    for repository, hub_id in (("models--org--base", "org/base"), ("models--gpt2", "gpt2")):
        snapshot = tmp_path / repository / "snapshots" / "0123abc"
        snapshot.mkdir(parents=True)
        origin = find_origin(ServeSettings(base_model=str(snapshot)))
        assert (origin.base_id, hub_id in origin.names) == ("0123abc", True)


def test_the_bundled_model_is_named_by_its_folder_too():
    """Training on that folder writes this name."""
    assert is_base_name(f"{BASE_DIR}/", find_origin(ServeSettings()).names)
