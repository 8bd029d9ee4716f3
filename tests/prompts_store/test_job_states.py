"""Saved states of jobs: what a paused or failed job resumes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from prompts_store import maintenance
from prompts_store.errors import StoreCorrupt
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_errors import ClaimLost, JobStatusConflict, QueueFull
from prompts_store.tuning_records import (
    JobError,
    JobRecord,
    JobStatus,
    NewEvent,
    StateAtFailure,
)
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import checkpoint
from tests.prompts_store.job_steps import F, messages, run, running, validate
from tests.prompts_store.test_maintenance import damage


def test_a_paused_job_resumes_from_its_saved_state(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """The server that paused may still save it; after a resume only the new claim may."""
    claim = running(tuning, create_job)
    with pytest.raises(JobStatusConflict, match="running"):
        tuning.resume_job(F, claim.job_id)
    tuning.pause_job(F, claim.job_id)
    with pytest.raises(ClaimLost) as lost:
        tuning.beat(claim)
    assert lost.value.status is JobStatus.PAUSED
    tuning.save_checkpoint(claim, 5, {"loss": 0.3}, b"state at 5", [NewEvent("Step 5.")])
    assert messages(tuning, claim.job_id)[-1] == "Step 5."
    assert tuning.claim_job(F, JobStatus.QUEUED, "b") is None
    assert tuning.resume_job(F, claim.job_id).status == "queued"
    again = run(tuning, "b")
    assert tuning.load_checkpoint(again) == b"state at 5"
    with pytest.raises(ClaimLost):
        tuning.save_checkpoint(claim, 6, {}, b"late")


def test_a_job_that_fails_says_why(store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """The error, and in the log that the job can be resumed."""
    claim = running(tuning, create_job)
    tuning.save_checkpoint(claim, 1, {}, b"state")
    error = JobError("bad_line", "line 3: no completion", "training_file")
    tuning.fail_job(claim, error)
    failed = tuning.get_job(F, claim.job_id)
    assert (failed.status, failed.error) == ("failed", error)
    assert [found.step for found in tuning.list_checkpoints(F, claim.job_id)] == [1]
    assert messages(tuning, claim.job_id)[-2:] == [
        "The job failed: line 3: no completion",
        "What it has learnt is kept: resumed, it goes on from there.",
    ]
    assert maintenance.verify(store).problems == ()


def test_a_state_that_cannot_be_read_is_kept_and_not_praised(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Another server may resume the job; the log does not say that this one could."""
    claim = running(tuning, create_job)
    tuning.save_checkpoint(claim, 1, {}, b"state")
    tuning.fail_job(claim, JobError("tuning_refused", "damaged"), state=StateAtFailure.UNREADABLE)
    assert messages(tuning, claim.job_id)[-1] == "Its saved state is kept, but this server cannot go on from it."
    assert tuning.resume_job(F, claim.job_id).status == "queued"


def test_a_failed_job_keeps_its_state_and_can_be_resumed(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """A resume clears error and end."""
    claim = running(tuning, create_job)
    tuning.save_checkpoint(claim, 5, {}, b"state at 5")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    assert maintenance.verify(store).problems == ()
    resumed = tuning.resume_job(F, claim.job_id)
    assert (resumed.status, resumed.error, resumed.finished_at) == ("queued", None, None)
    assert tuning.load_checkpoint(run(tuning, "b")) == b"state at 5"
    assert maintenance.verify(store).problems == ()


def test_a_failed_job_without_a_state_cannot_be_resumed(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """It saved none, or it was of no use."""
    for has_state in (False, True):
        claim = running(tuning, create_job)
        if has_state:
            tuning.save_checkpoint(claim, 5, {}, b"state at 5")
        state = StateAtFailure.DROPPED if has_state else StateAtFailure.RESUMABLE
        tuning.fail_job(claim, JobError("diverged", "the loss is NaN"), state=state)
        with pytest.raises(JobStatusConflict, match="no saved state to go on from: create a new job"):
            tuning.resume_job(F, claim.job_id)


def test_a_failed_job_whose_file_is_gone_cannot_be_resumed(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """The error says that a new job needs them again."""
    claim = running(tuning, create_job)
    tuning.save_checkpoint(claim, 5, {}, b"state at 5")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    tuning.delete_file(tuning.get_job(F, claim.job_id).training_file)
    with pytest.raises(JobStatusConflict, match="files have been deleted since: upload them for a new job"):
        tuning.resume_job(F, claim.job_id)


def test_a_failed_job_is_resumed_only_where_there_is_room(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """One that is paused has its place already."""
    claim = running(tuning, create_job)
    tuning.save_checkpoint(claim, 5, {}, b"state at 5")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    paused = create_job()
    validate(tuning)
    tuning.pause_job(F, paused.id)
    with pytest.raises(QueueFull):
        tuning.resume_job(F, claim.job_id, max_unfinished=1)
    assert tuning.resume_job(F, paused.id, max_unfinished=1).status == "queued"
    assert tuning.resume_job(F, claim.job_id, max_unfinished=2).status == "queued"


def test_only_the_latest_state_is_kept(store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """All checkpoints are listed; a state that does not agree with its digest is not returned."""
    claim = running(tuning, create_job)
    for step in (1, 2, 3):
        tuning.save_checkpoint(claim, step, {"loss": 1 / step}, f"state {step}".encode())
    assert tuning.load_checkpoint(claim) == b"state 3"
    found = tuning.list_checkpoints(F, claim.job_id)
    assert [one.step for one in found] == [3, 2, 1]
    assert [one.step for one in tuning.list_checkpoints(F, claim.job_id, before=found[0].id, limit=1)] == [2]
    assert maintenance.verify(store).problems == ()
    damage(store, "UPDATE tuning_checkpoints SET sha256 = 'x'")
    with pytest.raises(StoreCorrupt):
        tuning.load_checkpoint(claim)


def test_a_state_of_any_size_is_kept_whole(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord], tmp_path: Path
) -> None:
    """It is stored in chunks, as no database takes a value of any size, and is backed up with them."""
    claim = running(tuning, create_job)
    state = bytes(range(256)) * 10_000
    tuning.save_checkpoint(claim, 1, {}, state)
    with store.database.read() as connection:
        sizes = connection.scalars(text("SELECT length(data) FROM tuning_checkpoint_chunks")).all()
    assert len(sizes) > 1 and max(sizes) <= 1024**2
    assert tuning.load_checkpoint(claim) == state
    maintenance.backup(store, tmp_path / "backup.db")
    with Store.open(str(tmp_path / "backup.db")) as copy:
        assert TuningStore(copy).load_checkpoint(claim) == state
    damage(store, "DELETE FROM tuning_checkpoint_chunks WHERE number = 1")
    with pytest.raises(StoreCorrupt):
        tuning.load_checkpoint(claim)
    assert not maintenance.verify(store).is_clean


def test_no_chunk_outlives_its_job(store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """Neither cancelled nor purged."""
    for end in (lambda claim: tuning.cancel_job(F, claim.job_id), lambda _: store.purge_task(F, "mood")):
        claim = running(tuning, create_job)
        store.publish("mood", checkpoint(seed=8), Manifest())
        tuning.save_checkpoint(claim, 1, {}, b"state")
        end(claim)
        with store.database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM tuning_checkpoint_chunks")) == 0
