"""Claims of jobs: one server at a time works on a job, and a server that was thought dead can no longer write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prompts_store.store import Store
from prompts_store.tuning_errors import ClaimLost
from prompts_store.tuning_records import (
    JobError,
    JobRecord,
    JobStatus,
)
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.golden_store import claimed
from tests.prompts_store.job_steps import HOPELESS, F, complete, messages, run, running, validate
from tests.prompts_store.test_concurrency import together

ROOT = Path(__file__).parents[2]


def test_a_cancelled_job_takes_nothing_more(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Every write of the server that worked on it is refused."""
    claim = running(tuning, create_job)
    tuning.cancel_job(F, claim.job_id)
    for write in (
        lambda: tuning.beat(claim),
        lambda: tuning.save_checkpoint(claim, 1, {}, b"state"),
        lambda: complete(tuning, claim),
        lambda: tuning.fail_job(claim, JobError("x", "y")),
        lambda: tuning.release_job(claim),
    ):
        with pytest.raises(ClaimLost, match="cancelled"):
            write()
    assert store.list_tasks(F) == ()


def test_a_released_job_is_the_next_to_run(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """It is older than those that were created after it."""
    claim = running(tuning, create_job)
    create_job("later")
    validate(tuning)
    tuning.release_job(claim)
    assert run(tuning, "b").job_id == claim.job_id


def test_a_holder_that_saves_a_state_lives(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """However long that takes: its beats come no faster than the state."""
    claim = running(tuning, create_job)
    (before,) = tuning.heartbeats(F)
    tuning.save_checkpoint(claim, 1, {}, b"state")
    assert not tuning.take_over(before, HOPELESS)
    tuning.beat(claim)


def test_a_silent_server_loses_its_job_and_a_beating_one_does_not(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """One take-over succeeds; the claim before it is worth nothing."""
    claim = running(tuning, create_job)
    (seen,) = tuning.heartbeats(F)
    tuning.beat(claim)
    assert tuning.take_over(seen, HOPELESS) is None, "it has beaten since"
    (silent,) = tuning.heartbeats(F)
    assert tuning.take_over(silent, HOPELESS) == "queued"
    assert tuning.take_over(silent, HOPELESS) is None, "somebody was faster"
    assert "has stopped" in messages(tuning, claim.job_id)[-1]
    second = run(tuning, "b")
    assert second.number > claim.number
    with pytest.raises(ClaimLost):
        tuning.beat(claim)


def stop_over(
    tuning: TuningStore, status: JobStatus = JobStatus.QUEUED, *, reach: int | None = None
) -> JobStatus | None:
    """A server claims the job, comes to the checkpoint of a step, and stops without a word."""
    claim, _ = claimed(tuning.claim_job(F, status, "a"))
    if reach is not None:
        tuning.save_checkpoint(claim, reach, {}, b"state")
    (silent,) = tuning.heartbeats(F)
    return tuning.take_over(silent, HOPELESS)


def test_the_third_server_that_stops_over_a_job_ends_it(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """With the error that the last take-over brings; nobody claims it again."""
    job = create_job()
    validate(tuning)
    assert [stop_over(tuning) for _ in range(3)] == ["queued", "queued", "failed"]
    failed = tuning.get_job(F, job.id)
    assert (failed.status, failed.error, failed.claimed_by) == ("failed", HOPELESS, None)
    assert failed.finished_at is not None
    assert messages(tuning, job.id)[-1] == "The job failed: one server after another stopped"
    assert tuning.claim_job(F, JobStatus.QUEUED, "b") is None
    assert tuning.heartbeats(F) == ()


def test_reading_its_files_is_given_up_as_well(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """What has been read counts as progress."""
    job = create_job()
    statuses = [stop_over(tuning, JobStatus.VALIDATING_FILES) for _ in range(2)]
    assert statuses == ["validating_files", "validating_files"]
    validate(tuning)
    assert [stop_over(tuning) for _ in range(3)] == ["queued", "queued", "failed"]
    other = create_job()
    for _ in range(3):
        stop_over(tuning, JobStatus.VALIDATING_FILES)
    assert [tuning.get_job(F, one.id).status for one in (job, other)] == ["failed", "failed"]


def test_a_job_that_makes_progress_outlives_any_number_of_servers(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """A checkpoint of a later step begins the count anew; the same step saved again, as in an evaluation, does not."""
    create_job()
    validate(tuning)
    for step in range(1, 6):
        assert [stop_over(tuning), stop_over(tuning), stop_over(tuning, reach=step)] == ["queued"] * 3
    assert [stop_over(tuning, reach=5) for _ in range(3)] == ["queued", "queued", "failed"]


def test_a_checkpoint_of_no_step_is_no_progress(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """The state before the first step, saved while learning rates are tried."""
    create_job()
    validate(tuning)
    assert [stop_over(tuning, reach=0) for _ in range(3)] == ["queued", "queued", "failed"]


def test_a_server_that_gives_its_job_back_does_not_count(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """A rolling restart stops one server after another."""
    create_job()
    validate(tuning)
    for _ in range(10):
        tuning.release_job(run(tuning))
    assert [stop_over(tuning) for _ in range(2)] == ["queued", "queued"]
    tuning.release_job(run(tuning))
    assert stop_over(tuning) == "failed"


def test_a_job_that_is_resumed_gets_its_three_servers_anew(
    tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """A person has looked at it."""
    job = create_job()
    validate(tuning)
    assert [stop_over(tuning) for _ in range(2)] == ["queued", "queued"]
    tuning.pause_job(F, job.id)
    tuning.resume_job(F, job.id)
    assert [stop_over(tuning) for _ in range(3)] == ["queued", "queued", "failed"]


def test_of_threads_that_claim_each_job_goes_to_one(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """No job is claimed twice, and none is left."""
    ids = [create_job().id for _ in range(12)]
    for _ in ids:
        validate(tuning)

    def claim_all(thread: int) -> list[int]:
        taken = []
        while found := tuning.claim_job(F, JobStatus.QUEUED, f"thread-{thread}"):
            taken.append(found[0].job_id)
        return taken

    assert sorted(job_id for taken in together(claim_all) for job_id in taken) == ids


def test_of_threads_that_take_over_one_wins(tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """The others find that the job has been released."""
    running(tuning, create_job)
    (silent,) = tuning.heartbeats(F)
    assert [one for one in together(lambda _: tuning.take_over(silent, HOPELESS)) if one is not None] == ["queued"]


def test_processes_share_the_jobs_and_one_may_be_killed(
    url: str, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """What it held is taken over; each other job runs once."""
    ids = [create_job(f"task-{number}").id for number in range(8)]
    for _ in ids:
        validate(tuning)
    command = [sys.executable, "-m", "tests.prompts_store.job_worker", url]
    hanging = subprocess.Popen([*command, "hang"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert hanging.stdout is not None
    held = int(hanging.stdout.readline())
    workers = [subprocess.Popen([*command, "work"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done = [int(line) for worker in workers for line in worker.communicate(timeout=60)[0].split()]
    assert sorted([held, *done]) == ids, "each job once, and the held one by nobody else"
    hanging.kill()
    hanging.communicate()
    (silent,) = tuning.heartbeats(F)
    assert silent.claim.job_id == held
    assert tuning.take_over(silent, HOPELESS) == "queued"
    assert complete(tuning, run(tuning, "b"), seed=100)
