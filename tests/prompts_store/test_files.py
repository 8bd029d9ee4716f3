"""Uploaded files: whole or not at all, read back as they were, and there while a job needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prompts_store import maintenance
from prompts_store.errors import StoreNotEmpty
from prompts_store.store import Store
from prompts_store.tuning_errors import FileInUse, FileNotFound
from prompts_store.tuning_records import NewJob
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE

F = BASE.fingerprint


@pytest.fixture
def tuning(store: Store) -> TuningStore:
    return TuningStore(store)


def test_a_file_comes_back_as_it_was(tuning: TuningStore) -> None:
    added = tuning.add_file("a.jsonl", "fine-tune", [b"one ", b"two"], actor="ann")
    assert (added.num_bytes, added.created_by, added.filename) == (7, "ann", "a.jsonl")
    assert tuning.get_file(added.id) == added
    assert tuning.load_file(added.id) == b"one two"


def test_an_upload_that_breaks_off_leaves_nothing(store: Store, tuning: TuningStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"first"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        tuning.add_file("a.jsonl", "fine-tune", broken())
    assert tuning.list_files() == ()
    assert maintenance.verify(store).num_files == 0


def test_files_come_in_pages(tuning: TuningStore) -> None:
    ids = [tuning.add_file(f"{name}", purpose, [b"x"]).id for name, purpose in zip("abc", "xyx", strict=True)]
    assert [file.id for file in tuning.list_files()] == ids[::-1]
    assert [file.id for file in tuning.list_files(after=ids[2], limit=1)] == [ids[1]]
    assert [file.id for file in tuning.list_files(after=ids[0], newest_first=False)] == ids[1:]
    assert [file.id for file in tuning.list_files(purpose="x")] == [ids[2], ids[0]]


def test_a_file_is_removed_unless_a_job_needs_it(store: Store, tuning: TuningStore) -> None:
    first, second = (tuning.add_file("a", "fine-tune", [b"x"]).id for _ in range(2))
    job = tuning.create_job(NewJob(F, "mood", first, second, 0, {}), max_unfinished=1)
    for file_id in (first, second):
        with pytest.raises(FileInUse):
            tuning.delete_file(file_id)
    tuning.cancel_job(F, job.id)
    tuning.delete_file(first)
    with pytest.raises(FileNotFound):
        tuning.load_file(first)
    with pytest.raises(FileNotFound):
        tuning.delete_file(first)
    assert tuning.add_file("b", "fine-tune", [b"x"]).id > second, "numbers are never given again"
    assert maintenance.verify(store).problems == ()


def test_a_purge_takes_the_files_that_only_its_jobs_named(store: Store, tuning: TuningStore) -> None:
    own, shared, unused = (tuning.add_file("a", "fine-tune", [b"x"]).id for _ in range(3))
    for task, files in (("mood", (own, shared)), ("other", (shared, None))):
        tuning.create_job(NewJob(F, task, *files, 0, {}), max_unfinished=9)
    store.create_task(F, "mood")
    report = store.purge_task(F, "mood")
    assert (report.num_jobs, report.num_files) == (1, 1)
    assert [file.id for file in tuning.list_files()] == [unused, shared]
    assert [job.task for job in tuning.list_jobs(F)] == ["other"]
    assert maintenance.verify(store).problems == ()


def test_a_purge_leaves_no_byte_of_a_training_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(str(path)) as store:
        tuning = TuningStore(store)
        file_id = tuning.add_file("Zq7Marker", "fine-tune", [b"Zq7Marker" * 500]).id
        store.create_task(F, "mood")
        tuning.create_job(NewJob(F, "mood", file_id, None, 0, {"note": "Zq7Marker"}), max_unfinished=1)
        assert store.purge_task(F, "mood").log_is_clear
    assert not any(b"Zq7M" in file.read_bytes() for file in tmp_path.glob("store.db*"))


def test_a_store_with_a_file_alone_is_not_empty(store: Store, tuning: TuningStore, url: str, tmp_path: Path) -> None:
    maintenance.backup(store, tmp_path / "backup.db")
    tuning.add_file("a", "fine-tune", [b"x"])
    with pytest.raises(StoreNotEmpty):
        maintenance.restore(tmp_path / "backup.db", url)
