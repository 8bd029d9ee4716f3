"""Tuning jobs: created, found, cancelled, purged, and verified."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prompts_store import maintenance
from prompts_store.errors import InvalidName
from prompts_store.names import TaskReference
from prompts_store.store import Store
from prompts_store.tuning_errors import (
    ClaimLost,
    FileNotFound,
    JobNotFound,
    JobStatusConflict,
    QueueFull,
)
from prompts_store.tuning_records import (
    JobProgress,
    JobRecord,
    JobStatus,
    NewEvent,
    NewJob,
)
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.job_steps import F, complete, messages, run, running, validate
from tests.prompts_store.test_maintenance import damage


def test_a_job_goes_from_its_files_to_its_version(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Its statuses, its log, and what the version has of it."""
    job = create_job()
    assert (job.status, job.request, job.seed) == ("validating_files", {"labels": ["a"]}, 7)
    assert validate(tuning).status == "queued"
    claim = run(tuning)
    tuning.beat(claim, [NewEvent("Step 1.", kind="metrics", data={"loss": 0.5})], JobProgress(20))
    at_work = tuning.get_job(F, job.id)
    assert (at_work.status, at_work.trained_tokens, at_work.claimed_by) == ("running", 20, "a")
    assert complete(tuning, claim)
    done = tuning.get_job(F, job.id)
    assert (done.status, done.version, done.trained_tokens, done.claimed_by) == ("succeeded", 1, 40, None)
    assert done.metrics == {"exact_match": 0.9}
    assert None not in (done.started_at, done.finished_at)
    assert store.resolve(F, TaskReference.parse("mood")).created_by == "ann"
    assert tuning.load_plot(F, "mood", 1) == b"PNG"
    assert messages(tuning, job.id) == [
        "The job was created.",
        "The files are valid; the job is queued.",
        "Step 1.",
        "The job made version 1 of task mood, which is in production.",
    ]
    assert maintenance.verify(store).problems == ()


def test_a_job_needs_its_files_a_name_and_a_place(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """The limit of unfinished jobs is per base model."""
    file_id = create_job().training_file
    with pytest.raises(FileNotFound):
        tuning.create_job(NewJob(F, "mood", 99, None, 0, {}), max_unfinished=9)
    with pytest.raises(FileNotFound):
        tuning.create_job(NewJob(F, "mood", file_id, 99, 0, {}), max_unfinished=9)
    with pytest.raises(InvalidName):
        tuning.create_job(NewJob(F, "Mood!", file_id, None, 0, {}), max_unfinished=9)
    with pytest.raises(QueueFull):
        tuning.create_job(NewJob(F, "mood", file_id, None, 0, {}), max_unfinished=1)
    assert len(tuning.list_jobs(F)) == 1
    tuning.create_job(NewJob("e" * 64, "mood", file_id, None, 0, {}), max_unfinished=1)


def test_jobs_are_found_by_their_base_model(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """Newest first and in pages; another base model's server finds none of them."""
    ids = [create_job().id for _ in range(3)]
    assert [job.id for job in tuning.list_jobs(F)] == ids[::-1]
    assert [job.id for job in tuning.list_jobs(F, before=ids[2], limit=1)] == [ids[1]]
    for ask in (tuning.get_job, tuning.cancel_job, tuning.list_events, tuning.list_checkpoints):
        with pytest.raises(JobNotFound):
            ask("e" * 64, ids[0])


def test_a_job_is_cancelled_once(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """No other change of status follows, and no server claims it."""
    job = create_job()
    assert tuning.cancel_job(F, job.id).status == "cancelled"
    for again in (tuning.cancel_job, tuning.pause_job, tuning.resume_job):
        with pytest.raises(JobStatusConflict, match="cancelled"):
            again(F, job.id)
    assert tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a") is None


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE file_chunks SET data = 'x'", "File 1 does not agree"),
        ("DELETE FROM file_chunks", "File 1 does not agree"),
        ("DELETE FROM file_chunks; DELETE FROM files", "lacks a file"),
        ("UPDATE tuning_jobs SET finished_at = created_at WHERE status = 'running'", "running but has finished"),
        ("UPDATE tuning_jobs SET finished_at = NULL", "succeeded but has not finished"),
        ("UPDATE tuning_jobs SET version = 9 WHERE status = 'succeeded'", "names a version"),
        ("UPDATE tuning_checkpoint_chunks SET data = 'x'", "does not agree with its digest"),
        ("UPDATE tuning_jobs SET status = 'cancelled' WHERE status = 'running'", "does not need"),
    ],
)
def test_verify_finds_what_is_wrong_with_jobs_and_files(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord], statement: str, problem: str
) -> None:
    """Damaged files and states, and statuses that contradict the rest of the row."""
    complete(tuning, running(tuning, create_job))
    tuning.save_checkpoint(running(tuning, create_job), 1, {}, b"state")
    assert maintenance.verify(store).is_clean
    for one in statement.split(";"):
        damage(store, one)
    told = maintenance.verify(store).problems
    assert any(problem in one for one in told), told


def test_a_purged_task_takes_its_running_job_along(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """The next heartbeat finds the job gone."""
    claim = running(tuning, create_job)
    tuning.save_checkpoint(claim, 1, {}, b"state")
    store.create_task(F, "mood")
    assert store.purge_task(F, "mood").num_jobs == 1
    with pytest.raises(ClaimLost, match="gone"):
        tuning.beat(claim)
