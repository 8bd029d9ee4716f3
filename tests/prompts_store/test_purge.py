"""Purge and gc: what is to go is gone for good, also from the file; what is shared or needed stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prompts_store import maintenance
from prompts_store.checkpoint_records import Checkpoint
from prompts_store.errors import AliasNotFound, InvalidName, TaskNotFound, VersionNotFound
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import ChangeKind
from prompts_store.reports import GcReport, VersionKey
from prompts_store.store import Store
from prompts_store.tuning_errors import JobNotFound, JobStatusConflict
from prompts_store.tuning_records import JobError, JobStatus, NewJob
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.golden_store import claimed

F = BASE.fingerprint
NUM_BYTES = 3 * 8 * 4
MARK = "Zq7Marker"
MARKED_FLOATS = np.frombuffer(b"Zq7M" * 24, "<f4").reshape(3, 8).copy()


def publish(store: Store, seed: int, task: str = "t", **fields: object) -> None:
    store.publish(task, checkpoint(seed=seed), Manifest(**fields), promote=True, actor="ann")  # type: ignore[arg-type]


def marked() -> Checkpoint:
    """A checkpoint whose tensor's bytes spell the mark's beginning over and over, and whose config has the mark."""
    plain = checkpoint()
    tensor = replace(plain.tensors[0], values=MARKED_FLOATS)
    return replace(plain, tensors=(tensor,), config={**plain.config, "revision": MARK})


def failed_job(store: Store, task: str = "t") -> int:
    """A job that failed with a state to go on from."""
    tuning = TuningStore(store)
    file = tuning.add_file("f.jsonl", "fine-tune", [b"{}"])
    tuning.create_job(NewJob(F, task, file.id, None, 1, {}), max_unfinished=9)
    claim, _ = claimed(tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a"))
    tuning.mark_valid(claim)
    claim, _ = claimed(tuning.claim_job(F, JobStatus.QUEUED, "a"))
    tuning.save_checkpoint(claim, 3, {}, b"state")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    return claim.job_id


# --- purge ------------------------------------------------------------------------------------------------------------


def test_a_purge_says_what_it_removed(store: Store) -> None:
    for seed in (1, 2, 3):
        publish(store, seed)
    publish(store, 3, task="u")
    report = store.purge_task(F, "t", actor="eve")
    assert (report.task, report.num_versions, report.num_alias_moves) == ("t", 3, 4)
    assert (report.num_tensors, report.num_tensor_bytes, report.num_shared_tensors) == (2, 2 * NUM_BYTES, 1)
    assert store.load_content(F, "u", 1).record.version == 1, "the other task keeps the tensor that it shares"
    assert maintenance.verify(store).problems == ()


def test_a_task_that_only_jobs_name_is_purged_too(store: Store) -> None:
    """What a failed job has kept of it, and its file."""
    job_id = failed_job(store)
    report = store.purge_task(F, "t", actor="eve")
    assert (report.num_versions, report.num_jobs, report.num_files) == (0, 1, 1)
    with pytest.raises(JobNotFound):
        TuningStore(store).get_job(F, job_id)
    with pytest.raises(TaskNotFound):
        store.purge_task(F, "t")
    assert maintenance.verify(store).problems == ()


def test_a_purged_task_is_gone_and_its_numbers_go_on(store: Store) -> None:
    publish(store, 1)
    publish(store, 2)
    etag = store.get_alias(F, "t", "production").etag
    store.purge_task(F, "t", actor="eve")
    for text in ("t", "t@1"):
        with pytest.raises(TaskNotFound):
            store.resolve(F, TaskReference.parse(text))
    for number in (1, 2):
        with pytest.raises(TaskNotFound):
            store.load_content(F, "t", number, include_retired=True)
    kinds = [(change.kind, change.task) for change in store.changes_since(0, 100)][-2:]
    assert kinds == [(ChangeKind.TASK_DELETED, "t"), (ChangeKind.TASK_PURGED, "t")]

    publish(store, 1)
    assert store.get_task(F, "t").latest_version == 3
    assert int(store.get_alias(F, "t", "production").etag) > int(etag)
    assert [move.to_version for move in store.alias_history(F, "t", "production")] == [3]
    with pytest.raises(VersionNotFound):
        store.get_version(F, "t", 1, include_retired=True)
    assert maintenance.verify(store).problems == ()


def test_a_task_deleted_long_ago_is_purged(store: Store) -> None:
    publish(store, 1)
    store.delete_task(F, "t")
    assert store.purge_task(F, "t").num_versions == 1
    assert store.purge_task(F, "t").num_versions == 0
    store.create_task(F, "t")
    with pytest.raises(AliasNotFound):
        store.alias_history(F, "t", "production")
    with pytest.raises(TaskNotFound):
        store.purge_task(F, "other")
    with pytest.raises(InvalidName):
        store.purge_task(F, "O")


def test_a_purge_leaves_no_byte_in_the_file(tmp_path: Path) -> None:
    """Neither in the database, its free pages or its log, whatever the task held; another task keeps all of its own."""
    path = tmp_path / "store.db"
    with Store.open(str(path)) as store:
        publish(store, 5, task="other")
        store.create_task(F, "t", MARK)
        fields = {"template": MARK + "{input}", "labels": (MARK, "b"), "note": MARK, "metrics": {MARK: 1}}
        for number in range(3):
            manifest = Manifest(stop=(str(number),), **fields)  # type: ignore[arg-type]
            store.publish("t", marked(), manifest, promote=True)
        store.put_alias(F, "t", "canary", 1, if_match=None, must_not_exist=True, reason=MARK)
        store.delete_alias(F, "t", "canary", if_match=None, reason=MARK)
        store.retire_version(F, "t", 1)
        assert contains(path, b"Zq7M"), "the test looks where the store writes"
        assert store.purge_task(F, "t", actor="eve").log_is_clear
        assert not contains(path, b"Zq7M")
        assert store.load_content(F, "other", 1).record.version == 1
    assert not contains(path, b"Zq7M")


def test_a_purge_tells_when_a_reader_keeps_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prompts_store.store.ERASE_TIMEOUT_S", 0.05)
    path = tmp_path / "store.db"
    with Store.open(str(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        publish(store, 1)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM tasks").fetchall()
        assert not store.purge_task(F, "t").log_is_clear
        reader.execute("COMMIT")
        assert store.purge_task(F, "t").log_is_clear


def contains(path: Path, mark: bytes) -> bool:
    return any(mark in file.read_bytes() for file in path.parent.glob(path.name + "*"))


# --- gc ---------------------------------------------------------------------------------------------------------------


def test_gc_frees_what_only_retired_versions_name(store: Store) -> None:
    for seed in (1, 2, 3):
        publish(store, seed)
    publish(store, 1, task="u")
    store.retire_version(F, "t", 1)
    store.retire_version(F, "t", 2)
    assert maintenance.gc(store, grace_s=0.0) == GcReport(num_versions=2, num_tensors=1, num_tensor_bytes=NUM_BYTES)
    assert store.load_content(F, "t", 3).record.version == 3
    assert store.load_content(F, "u", 1).record.version == 1, "the same bytes as the retired version 1 of the other"
    for number in (1, 2):
        with pytest.raises(VersionNotFound, match="freed"):
            store.load_content(F, "t", number, include_retired=True)
        assert store.get_version(F, "t", number, include_retired=True).retired_at is not None
    assert maintenance.gc(store, grace_s=0.0) == GcReport(0, 0, 0)
    assert maintenance.verify(store).problems == ()


def test_gc_spares_what_was_retired_just_now(store: Store) -> None:
    publish(store, 1)
    store.delete_task(F, "t")
    assert maintenance.gc(store) == GcReport(0, 0, 0)
    assert store.load_content(F, "t", 1, include_retired=True).record.version == 1


def test_gc_spares_what_another_version_depends_on(store: Store) -> None:
    publish(store, 1)
    publish(store, 2)
    store.delete_task(F, "t")
    assert maintenance.gc(store, grace_s=0.0, keep=[VersionKey(F, "t", 2)]).num_versions == 1
    assert store.load_content(F, "t", 2, include_retired=True).record.version == 2


def test_freed_content_comes_back_by_publishing_it_again(store: Store) -> None:
    publish(store, 1)
    store.delete_task(F, "t")
    maintenance.gc(store, grace_s=0.0)
    publish(store, 1)
    assert store.load_content(F, "t", 2).record.version == 2


def test_gc_drops_what_a_job_could_be_resumed_from_that_failed_long_ago(store: Store) -> None:
    job_id = failed_job(store)
    assert maintenance.gc(store, grace_s=0.0).num_states == 0
    assert maintenance.gc(store, keep_states_s=0.0) == GcReport(0, 0, 0, num_states=1)
    assert maintenance.gc(store, keep_states_s=0.0).num_states == 0
    with pytest.raises(JobStatusConflict):
        TuningStore(store).resume_job(F, job_id)
    assert maintenance.verify(store).problems == ()
