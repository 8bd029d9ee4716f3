"""Tuning jobs: their statuses, who works on them, and what a server that was thought dead can no longer do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from prompts_store import maintenance
from prompts_store.errors import InvalidName, StoreCorrupt
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.store import Store
from prompts_store.tuning_errors import (
    ClaimLost,
    FileNotFound,
    JobNotFound,
    JobStatusConflict,
    PlotNotFound,
    QueueFull,
    TaskDeleted,
)
from prompts_store.tuning_records import (
    JobClaim,
    JobError,
    JobOutcome,
    JobProgress,
    JobRecord,
    JobStatus,
    NewEvent,
    NewJob,
    Promotion,
)
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.golden_store import claimed
from tests.prompts_store.test_concurrency import together
from tests.prompts_store.test_maintenance import damage

F = BASE.fingerprint
UNASKED = Promotion()
HOPELESS = JobError("server_stopped", "one server after another stopped")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def tuning(store: Store) -> TuningStore:
    return TuningStore(store)


@pytest.fixture
def create(tuning: TuningStore) -> Callable[..., JobRecord]:
    file_id = tuning.add_file("train.jsonl", "fine-tune", [b"{}"]).id

    def make(task: str = "mood") -> JobRecord:
        return tuning.create_job(NewJob(F, task, file_id, None, 7, {"labels": ["a"]}), max_unfinished=100)

    return make


def validate(tuning: TuningStore) -> JobRecord:
    claim, job = claimed(tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a"))
    tuning.mark_valid(claim)
    return tuning.get_job(F, job.id)


def run(tuning: TuningStore, owner: str = "a") -> JobClaim:
    return claimed(tuning.claim_job(F, JobStatus.QUEUED, owner))[0]


def running(tuning: TuningStore, create: Callable[..., JobRecord]) -> JobClaim:
    create()
    validate(tuning)
    return run(tuning)


def outcome(promotion: Promotion = UNASKED, **manifest: object) -> JobOutcome:
    return JobOutcome(Manifest(**manifest), promotion, 40, {"exact_match": 0.9}, b"PNG")  # type: ignore[arg-type]


def complete(tuning: TuningStore, claim: JobClaim, promotion: Promotion = UNASKED, seed: int = 1) -> bool:
    task = tuning.get_job(F, claim.job_id).task
    return tuning.complete_job(claim, task, checkpoint(seed=seed), outcome(promotion), actor="ann").promoted


def messages(tuning: TuningStore, job_id: int) -> list[str]:
    return [event.message for event in tuning.list_events(F, job_id)][::-1]


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_a_job_goes_from_its_files_to_its_version(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    job = create()
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


def test_what_cannot_be_created_is_refused(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    file_id = create().training_file
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


def test_jobs_are_found_by_their_base_model(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    ids = [create().id for _ in range(3)]
    assert [job.id for job in tuning.list_jobs(F)] == ids[::-1]
    assert [job.id for job in tuning.list_jobs(F, before=ids[2], limit=1)] == [ids[1]]
    for ask in (tuning.get_job, tuning.cancel_job, tuning.list_events, tuning.list_checkpoints):
        with pytest.raises(JobNotFound):
            ask("e" * 64, ids[0])


def test_a_job_is_cancelled_once(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    job = create()
    assert tuning.cancel_job(F, job.id).status == "cancelled"
    for again in (tuning.cancel_job, tuning.pause_job, tuning.resume_job):
        with pytest.raises(JobStatusConflict, match="cancelled"):
            again(F, job.id)
    assert tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a") is None


def test_a_paused_job_goes_on_from_the_state_it_was_left_in(
    tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    claim = running(tuning, create)
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


def test_a_job_that_fails_says_why(store: Store, tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    claim = running(tuning, create)
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


def test_a_failed_job_keeps_its_state_and_can_be_resumed(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    claim = running(tuning, create)
    tuning.save_checkpoint(claim, 5, {}, b"state at 5")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    assert maintenance.verify(store).problems == ()
    resumed = tuning.resume_job(F, claim.job_id)
    assert (resumed.status, resumed.error, resumed.finished_at) == ("queued", None, None)
    assert tuning.load_checkpoint(run(tuning, "b")) == b"state at 5"
    assert maintenance.verify(store).problems == ()


def test_a_failed_job_without_a_state_cannot_be_resumed(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    """It saved none, or it was of no use."""
    for keep_state in (True, False):
        claim = running(tuning, create)
        if not keep_state:
            tuning.save_checkpoint(claim, 5, {}, b"state at 5")
        tuning.fail_job(claim, JobError("diverged", "the loss is NaN"), keep_state=keep_state)
        with pytest.raises(JobStatusConflict, match="no saved state to go on from: create a new job"):
            tuning.resume_job(F, claim.job_id)


def test_a_failed_job_whose_file_is_gone_cannot_be_resumed(
    tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    claim = running(tuning, create)
    tuning.save_checkpoint(claim, 5, {}, b"state at 5")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    tuning.delete_file(tuning.get_job(F, claim.job_id).training_file)
    with pytest.raises(JobStatusConflict, match="files have been deleted since: upload them for a new job"):
        tuning.resume_job(F, claim.job_id)


def test_a_failed_job_is_resumed_only_where_there_is_room(
    tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    """One that is paused has its place already."""
    claim = running(tuning, create)
    tuning.save_checkpoint(claim, 5, {}, b"state at 5")
    tuning.fail_job(claim, JobError("engine_failed", "the engine failed"))
    paused = create()
    validate(tuning)
    tuning.pause_job(F, paused.id)
    with pytest.raises(QueueFull):
        tuning.resume_job(F, claim.job_id, max_unfinished=1)
    assert tuning.resume_job(F, paused.id, max_unfinished=1).status == "queued"
    assert tuning.resume_job(F, claim.job_id, max_unfinished=2).status == "queued"


# --- deleted tasks ----------------------------------------------------------------------------------------------------


def test_a_deleted_task_ends_its_jobs_wherever_they_are(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    """Those of other tasks, and of other base models, go on."""
    create("done")
    validate(tuning)
    complete(tuning, run(tuning))
    paused, claim = running(tuning, create), running(tuning, create)
    tuning.pause_job(F, paused.job_id)
    queued = create().id
    validate(tuning)
    unread, other = create().id, create("other").id
    store.create_task(F, "mood")
    store.delete_task(F, "mood")
    for job_id in (paused.job_id, claim.job_id, queued, unread):
        failed = tuning.get_job(F, job_id)
        assert failed.error is not None
        assert (failed.status, failed.error.code, failed.claimed_by) == ("failed", "task_deleted", None)
        assert failed.error.message == 'The task "mood" was deleted, so nothing is published to it.'
        assert messages(tuning, job_id)[-1] == f"The job failed: {failed.error.message}"
    assert [tuning.get_job(F, job_id).status for job_id in (1, other)] == ["succeeded", "validating_files"]
    assert maintenance.verify(store).problems == ()


def test_who_tunes_for_a_deleted_task_publishes_nothing_and_keeps_what_was_learnt(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    """Also where somebody has made a task of this name meanwhile. Until a purge, the job can be resumed by hand."""
    complete(tuning, running(tuning, create))
    claim = running(tuning, create)
    store.delete_task(F, "mood")
    store.publish("mood", checkpoint(seed=5), Manifest(note="another"))
    for write in (lambda: tuning.beat(claim), lambda: complete(tuning, claim, seed=2)):
        with pytest.raises(ClaimLost, match="failed"):
            write()
    assert [version.manifest.note for version in store.list_versions(F, "mood")] == ["another"]
    tuning.save_checkpoint(claim, 9, {}, b"state at 9")
    tuning.resume_job(F, claim.job_id)
    again = run(tuning)
    assert tuning.load_checkpoint(again) == b"state at 9"
    complete(tuning, again, seed=2)
    assert store.get_task(F, "mood").latest_version == 3


def test_a_job_made_after_the_deletion_makes_the_task_anew(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    store.create_task(F, "mood")
    store.delete_task(F, "mood")
    assert complete(tuning, running(tuning, create))


def test_what_was_tuned_outside_of_a_job_is_not_published_to_a_task_deleted_meanwhile(
    store: Store, tuning: TuningStore
) -> None:
    """A task that was deleted before, or never there, is made."""
    publish = partial(tuning.publish, "mood", checkpoint(), Manifest(), UNASKED)
    publish(begun_at=store.revision())
    begun_at = store.revision()
    store.delete_task(F, "mood")
    store.create_task(F, "mood")
    with pytest.raises(TaskDeleted, match='"mood" was deleted while it was tuned'):
        publish(begun_at=begun_at)
    assert store.list_versions(F, "mood") == ()
    assert publish(begun_at=store.revision()).version.version == 2


def test_only_the_latest_state_is_kept(store: Store, tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    claim = running(tuning, create)
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
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord], tmp_path: Path
) -> None:
    """It is stored in chunks, as no database takes a value of any size, and is backed up with them."""
    claim = running(tuning, create)
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


def test_a_holder_that_saves_a_state_lives(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    """However long that takes: its beats come no faster than the state."""
    claim = running(tuning, create)
    (before,) = tuning.heartbeats(F)
    tuning.save_checkpoint(claim, 1, {}, b"state")
    assert not tuning.take_over(before, HOPELESS)
    tuning.beat(claim)


def test_no_chunk_outlives_its_job(store: Store, tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    for end in (lambda claim: tuning.cancel_job(F, claim.job_id), lambda _: store.purge_task(F, "mood")):
        claim = running(tuning, create)
        store.publish("mood", checkpoint(seed=8), Manifest())
        tuning.save_checkpoint(claim, 1, {}, b"state")
        end(claim)
        with store.database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM tuning_checkpoint_chunks")) == 0


# --- promotion --------------------------------------------------------------------------------------------------------


def test_a_later_version_is_promoted_where_it_is_wanted_and_the_alias_has_not_moved(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    store.publish("mood", checkpoint(seed=8), Manifest())
    etag = store.get_alias(F, "mood", "production").etag
    assert not complete(tuning, running(tuning, create), seed=2)
    assert complete(tuning, running(tuning, create), Promotion(True, False, etag, "gate: 0.9"), seed=3)
    assert store.get_task(F, "mood").production_version == 3
    assert store.alias_history(F, "mood", "production")[0].reason == "gate: 0.9"
    claim = running(tuning, create)
    assert not complete(tuning, claim, Promotion(True, False, etag), seed=4), "moved since the etag was read"
    assert "has been moved meanwhile" in messages(tuning, claim.job_id)[-1]
    assert store.get_task(F, "mood").production_version == 3


def test_a_first_version_that_was_refused_is_not_in_production(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    assert not complete(tuning, running(tuning, create), Promotion(is_wanted=True, is_refused=True))
    assert store.get_task(F, "mood").production_version is None
    assert store.get_version(F, "mood", 1).version == 1


def test_the_same_content_again_is_the_same_version(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    complete(tuning, running(tuning, create), seed=1)
    claim = running(tuning, create)
    complete(tuning, claim, seed=1)
    assert tuning.get_job(F, claim.job_id).version == 1
    assert "already is" in messages(tuning, claim.job_id)[-1]


def test_a_plot_goes_with_its_version(store: Store, tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    complete(tuning, running(tuning, create), seed=1)
    store.publish("mood", checkpoint(seed=2), Manifest(), promote=True)
    with pytest.raises(PlotNotFound):
        tuning.load_plot(F, "mood", 2)
    store.retire_version(F, "mood", 1)
    maintenance.gc(store, grace_s=0.0)
    store.purge_task(F, "mood")
    assert maintenance.verify(store).problems == ()


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_job_takes_nothing_more(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    claim = running(tuning, create)
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


def test_a_released_job_is_the_next_to_run(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    claim = running(tuning, create)
    create("later")
    validate(tuning)
    tuning.release_job(claim)
    assert run(tuning, "b").job_id == claim.job_id


def test_a_server_that_stopped_loses_its_job_and_one_that_beats_does_not(
    tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    claim = running(tuning, create)
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


def test_the_third_server_that_stops_over_a_job_ends_it(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    job = create()
    validate(tuning)
    assert [stop_over(tuning) for _ in range(3)] == ["queued", "queued", "failed"]
    failed = tuning.get_job(F, job.id)
    assert (failed.status, failed.error, failed.claimed_by) == ("failed", HOPELESS, None)
    assert failed.finished_at is not None
    assert messages(tuning, job.id)[-1] == "The job failed: one server after another stopped"
    assert tuning.claim_job(F, JobStatus.QUEUED, "b") is None
    assert tuning.heartbeats(F) == ()


def test_reading_its_files_is_given_up_as_well(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    """What has been read counts as progress."""
    job = create()
    statuses = [stop_over(tuning, JobStatus.VALIDATING_FILES) for _ in range(2)]
    assert statuses == ["validating_files", "validating_files"]
    validate(tuning)
    assert [stop_over(tuning) for _ in range(3)] == ["queued", "queued", "failed"]
    other = create()
    for _ in range(3):
        stop_over(tuning, JobStatus.VALIDATING_FILES)
    assert [tuning.get_job(F, one.id).status for one in (job, other)] == ["failed", "failed"]


def test_a_job_that_comes_further_may_outlive_any_number_of_servers(
    tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    """A checkpoint of a later step begins the count anew; the same step saved again, as in an evaluation, does not."""
    create()
    validate(tuning)
    for step in range(1, 6):
        assert [stop_over(tuning), stop_over(tuning), stop_over(tuning, reach=step)] == ["queued"] * 3
    assert [stop_over(tuning, reach=5) for _ in range(3)] == ["queued", "queued", "failed"]


def test_a_checkpoint_of_no_step_is_no_progress(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    """The state before the first step, saved while learning rates are tried."""
    create()
    validate(tuning)
    assert [stop_over(tuning, reach=0) for _ in range(3)] == ["queued", "queued", "failed"]


def test_a_server_that_gives_its_job_back_does_not_count(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    """A rolling restart stops one server after another."""
    create()
    validate(tuning)
    for _ in range(10):
        tuning.release_job(run(tuning))
    assert [stop_over(tuning) for _ in range(2)] == ["queued", "queued"]
    tuning.release_job(run(tuning))
    assert stop_over(tuning) == "failed"


def test_a_job_that_is_resumed_gets_its_three_servers_anew(
    tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    """A person has looked at it."""
    job = create()
    validate(tuning)
    assert [stop_over(tuning) for _ in range(2)] == ["queued", "queued"]
    tuning.pause_job(F, job.id)
    tuning.resume_job(F, job.id)
    assert [stop_over(tuning) for _ in range(3)] == ["queued", "queued", "failed"]


def test_a_purged_task_takes_its_running_job_along(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    claim = running(tuning, create)
    tuning.save_checkpoint(claim, 1, {}, b"state")
    store.create_task(F, "mood")
    assert store.purge_task(F, "mood").num_jobs == 1
    with pytest.raises(ClaimLost, match="gone"):
        tuning.beat(claim)


def test_of_threads_that_claim_each_job_goes_to_one(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    ids = [create().id for _ in range(12)]
    for _ in ids:
        validate(tuning)

    def claim_all(thread: int) -> list[int]:
        taken = []
        while found := tuning.claim_job(F, JobStatus.QUEUED, f"thread-{thread}"):
            taken.append(found[0].job_id)
        return taken

    assert sorted(job_id for taken in together(claim_all) for job_id in taken) == ids


def test_of_threads_that_take_over_one_wins(tuning: TuningStore, create: Callable[..., JobRecord]) -> None:
    running(tuning, create)
    (silent,) = tuning.heartbeats(F)
    assert [one for one in together(lambda _: tuning.take_over(silent, HOPELESS)) if one is not None] == ["queued"]


def test_processes_share_the_jobs_and_what_a_killed_one_held_is_taken_over(
    url: str, tuning: TuningStore, create: Callable[..., JobRecord]
) -> None:
    ids = [create(f"task-{number}").id for number in range(8)]
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
def test_verify_tells_what_is_wrong(
    store: Store, tuning: TuningStore, create: Callable[..., JobRecord], statement: str, problem: str
) -> None:
    complete(tuning, running(tuning, create))
    tuning.save_checkpoint(running(tuning, create), 1, {}, b"state")
    assert maintenance.verify(store).is_clean
    for one in statement.split(";"):
        damage(store, one)
    told = maintenance.verify(store).problems
    assert any(problem in one for one in told), told
