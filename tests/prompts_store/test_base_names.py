"""Names of a base model: one hub id or folder has several spellings."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompts_store.base_names import hub_id_of, is_base_name, is_folder_of, is_tail_of

SNAPSHOT = "/home/me/.cache/huggingface/hub/models--org--base/snapshots/0123abc"
HUB = ("org/base",)
FOLDER = ("mine", "/srv/models/mine")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("org/base", HUB),
        ("org/base/", HUB),
        ("./org/base", HUB),
        ("org//base", HUB),
        ("org/./base", HUB),
        ("org/other/../base", HUB),
        (SNAPSHOT, HUB),
        (f"{SNAPSHOT}/", HUB),
        (SNAPSHOT.replace("0123abc", "other"), (SNAPSHOT,)),
        ("org/base", (SNAPSHOT,)),
        ("hub/models--gpt2/snapshots/0123abc", ("gpt2",)),
        (r"C:\Users\me\hub\models--org--base\snapshots\0123abc", HUB),
        ("mine/", FOLDER),
        ("./mine", FOLDER),
        ("/srv/models/mine/", FOLDER),
        ("//srv/models//mine", FOLDER),
        ("/srv/models/./mine", FOLDER),
        ("/srv/models/old/../mine", FOLDER),
        ("/content/model", ("base", "/content/model/")),
    ],
)
def test_a_name_in_another_spelling_is_the_same_name(name: str, names: tuple[str, ...]) -> None:
    """Also behind a hub cache's snapshot path."""
    assert is_base_name(name, names)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "./",
        "..",
        "/",
        "other",
        "other/mine",
        "/mine",
        "mine/x",
        "/content/mine",
        "ORG/BASE",
        "models--org--base",
    ],
)
@pytest.mark.parametrize("names", [HUB, FOLDER, ()])
def test_another_name_is_another_base(name: str, names: tuple[str, ...]) -> None:
    """Letter case counts, and an absolute path of another folder is another folder."""
    assert not is_base_name(name, names)
    assert not is_tail_of(name, names)


@pytest.mark.parametrize(
    "name", ["models/mine", "./models/mine/", "../mine", "../../srv/models/mine", r".\models\mine"]
)
def test_a_relative_path_may_be_the_end_of_an_absolute_one(name: str) -> None:
    """The folder that it starts from is unknown."""
    assert is_tail_of(name, FOLDER)
    assert not is_tail_of(name, ("org/models/mine",))


def test_a_very_long_name_is_compared_as_it_stands() -> None:
    """A request's `model` may be long, and every part of a path costs time."""
    assert not is_base_name("./" * 1000 + "mine", FOLDER)
    assert is_base_name("./" * 100 + "mine", FOLDER)


def test_a_link_to_the_folder_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on the machine that has both."""
    (tmp_path / "v3").mkdir()
    (tmp_path / "current").symlink_to("v3")
    names = ("v3", str(tmp_path / "v3"))
    assert is_folder_of(str(tmp_path / "current"), names)
    assert not is_base_name(str(tmp_path / "current"), names)
    assert not is_folder_of(str(tmp_path / "v4"), names)
    monkeypatch.chdir(tmp_path)
    assert is_folder_of("current", names)
    assert not is_folder_of("current", ("v3", "org/base"))


def test_the_hub_id_stands_in_a_snapshot_path() -> None:
    """Organisation and name are joined by two dashes."""
    assert hub_id_of(SNAPSHOT) == "org/base"
    assert hub_id_of("models--gpt2/snapshots/0123abc/") == "gpt2"
    for path in ("/srv/models/mine", "org/base", "models--org--base", f"{SNAPSHOT}/part", "models--/snapshots/x", ""):
        assert hub_id_of(path) is None
