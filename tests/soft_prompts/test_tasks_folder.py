"""A folder of checkpoints owns its tasks."""

import asyncio
import errno
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from prompts_store.errors import StoreUnavailable
from prompts_store.store import Store
from server.soft_prompts.tasks_folder import TasksFolder
from tests.fakes.checkpoints import BASE, prompt_tuning_files

F = BASE.fingerprint


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "store.db")) as store:
        yield store


@pytest.fixture
def root(tmp_path):
    (tmp_path / "tasks").mkdir()
    return tmp_path / "tasks"


@pytest.fixture
def folder(root, store):
    return TasksFolder(root, store, BASE, poll_interval_s=0.01)


def write(root, task, seed=0, **manifest):
    target = root / task
    target.mkdir(exist_ok=True)
    files = prompt_tuning_files(seed=seed)
    (target / "adapter_config.json").write_bytes(files["adapter_config"])
    (target / "adapter_model.safetensors").write_bytes(files["adapter_model"])
    (target / "manifest.json").write_text(json.dumps(manifest))


def production(store, task):
    return store.get_task(F, task).production_version


def test_what_is_there_at_the_start_is_published_at_once(folder, root, store):
    write(root, "mood", description="How it sounds.")
    write(root, "dates", 1)
    (root / ".git").mkdir()
    folder.scan(at_once=True)
    assert folder.tasks == {"mood", "dates"}
    assert production(store, "mood") == production(store, "dates") == 1
    assert store.get_task(F, "mood").description == "How it sounds."


def test_a_link_to_the_base_models_folder_names_the_base_model(root, store, tmp_path):
    """The folder's files are the operator's, so links are followed."""
    (tmp_path / "v3").mkdir()
    (tmp_path / "current").symlink_to("v3")
    write(root, "mood")
    config = root / "mood" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": f"{tmp_path}/current"}))
    TasksFolder(root, store, replace(BASE, names=("v3", f"{tmp_path}/v3"))).scan(at_once=True)
    assert not store.list_versions(F, "mood", limit=1)[0].base_mismatch


def test_a_change_is_published_once_it_stands_still(folder, root, store):
    write(root, "mood")
    folder.scan(at_once=True)
    write(root, "mood", 1)
    folder.scan()
    assert production(store, "mood") == 1
    folder.scan()
    assert production(store, "mood") == 2


def test_content_that_comes_back_is_production_again(folder, root, store):
    """As after a revert in Git."""
    for seed in (0, 1, 0):
        write(root, "mood", seed)
        folder.scan(at_once=True)
    assert (production(store, "mood"), store.get_task(F, "mood").latest_version) == (1, 2)


def test_a_broken_folder_is_said_once_and_the_others_go_on(folder, root, store, caplog):
    write(root, "bad", template="no placeholder")
    write(root, "good", 1)
    (root / "Not A Name").mkdir()
    with caplog.at_level(logging.ERROR):
        folder.scan(at_once=True)
        folder.scan(at_once=True)
    assert production(store, "good") == 1
    assert sorted(record.args[0] for record in caplog.records) == ["Not A Name", "bad"]
    write(root, "bad")
    folder.scan(at_once=True)
    assert production(store, "bad") == 1


HOSTILE_MANIFESTS = {
    "deep": lambda file: file.write_bytes(b"[" * 5_000),
    "pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "ensemble": lambda file: file.write_text('{"members": ["1", "2"]}'),
    "surrogates": lambda file: file.write_text('{"note": "\\ud800"}'),
}


def test_hostile_manifests_are_said_and_the_folders_behind_them_go_on(folder, root, store, caplog):
    for name, spoil in HOSTILE_MANIFESTS.items():
        write(root, name)
        spoil(root / name / "manifest.json")
    write(root, "well", 1)
    folder.scan(at_once=True)
    assert production(store, "well") == 1
    assert sorted(record.args[0] for record in caplog.records) == sorted(HOSTILE_MANIFESTS)
    write(root, "well", 2)
    folder.scan()
    folder.scan()
    assert production(store, "well") == 2
    assert len(caplog.records) == len(HOSTILE_MANIFESTS)


def test_a_fault_of_ours_in_one_folder_leaves_the_others(folder, root, store, monkeypatch, caplog):
    """Whatever one folder meets."""
    write(root, "bad")
    write(root, "good", 1)
    publish = Store.publish

    def fail(store, name, *others, **options):
        if name == "bad":
            raise RecursionError
        return publish(store, name, *others, **options)

    monkeypatch.setattr(Store, "publish", fail)
    folder.scan(at_once=True)
    folder.scan(at_once=True)
    assert production(store, "good") == 1
    assert [record.args[0] for record in caplog.records] == ["bad"]


def test_names_that_are_no_tasks_are_said_on_one_line(folder, root, caplog):
    """Bytes that are no text and line breaks do not reach the log as they are."""
    for name in (os.fsdecode(b"caf\xe9"), "a\nb", "Mood"):
        (root / name).mkdir()
    (root / "loop").symlink_to("loop")
    folder.scan(at_once=True)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert all("A task name must have" in message and message.isprintable() for message in messages)


def test_an_entry_that_cannot_be_reached_leaves_the_others(folder, root, store, monkeypatch, caplog):
    """As a link into a folder that the server may not enter."""
    write(root, "good", 1)
    (root / "bad").symlink_to(".hidden")
    is_dir = Path.is_dir

    def refuse(path):
        if path.name == "bad":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    folder.scan(at_once=True)
    assert production(store, "good") == 1
    assert [record.args[0] for record in caplog.records] == ["bad"]


async def test_a_missing_folder_is_reported_once_and_read_when_it_returns(folder, root, store, caplog, monkeypatch):
    """The log has one line for the whole time that the folder is away."""
    write(root, "mood")
    folder.scan(at_once=True)
    shutil.rmtree(root)
    scans = []
    scan = folder.scan
    monkeypatch.setattr(folder, "scan", lambda: (scans.append(None), scan()))
    async with folder.watching():
        while len(scans) < 4:
            await asyncio.sleep(0.01)
        root.mkdir()
        write(root, "mood", 1)
        while production(store, "mood") == 1:
            await asyncio.sleep(0.01)
    assert len(caplog.records) == 1


def test_while_the_store_is_away_it_is_tried_again(folder, root, store, monkeypatch, caplog):
    write(root, "mood")

    def away(*_, **__):
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", away)
        folder.scan(at_once=True)
        folder.scan()
    assert len(caplog.records) == 1
    folder.scan()
    assert production(store, "mood") == 1


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EIO], ids=errno.errorcode.get)
def test_what_cannot_be_read_now_is_tried_again_and_said_once(folder, root, store, monkeypatch, caplog, code):
    """A `chmod`, a file that is closed elsewhere or a network drive that is back leaves no other trace."""
    write(root, "mood")

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        folder.scan(at_once=True)
        folder.scan()
        folder.scan()
    assert [os.strerror(code) in record.getMessage() for record in caplog.records] == [True]
    folder.scan()
    assert production(store, "mood") == 1


def test_a_lack_of_memory_is_tried_again_and_said_once(folder, root, store, monkeypatch, caplog):
    """It passes without a change of the files."""
    write(root, "mood")

    def fail(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", fail)
        for _ in range(3):
            folder.scan(at_once=True)
    said = "task 'mood' of the folder cannot be published now: there is not enough memory"
    assert [record.getMessage() for record in caplog.records] == [said]
    folder.scan()
    assert production(store, "mood") == 1


def test_a_folder_taken_away_leaves_its_task_to_others(folder, root, store):
    write(root, "mood")
    folder.scan(at_once=True)
    shutil.rmtree(root / "mood")
    folder.scan()
    assert folder.tasks == frozenset()
    assert production(store, "mood") == 1
