"""Versions of jobs: published and promoted, or not where the task was deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from prompts_store import maintenance
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_errors import ClaimLost, PlotNotFound, TaskDeleted
from prompts_store.tuning_records import (
    JobRecord,
    Promotion,
)
from prompts_store.tuning_store import TuningStore
from tests.prompts_store.checkpoints import checkpoint
from tests.prompts_store.job_steps import UNASKED, F, complete, messages, run, running, validate


def test_a_deleted_task_ends_its_jobs_wherever_they_are(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Those of other tasks, and of other base models, go on."""
    create_job("done")
    validate(tuning)
    complete(tuning, run(tuning))
    paused, claim = running(tuning, create_job), running(tuning, create_job)
    tuning.pause_job(F, paused.job_id)
    queued = create_job().id
    validate(tuning)
    unread, other = create_job().id, create_job("other").id
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


def test_a_job_of_a_deleted_task_keeps_its_state(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Also where somebody has made a task of this name meanwhile. Until a purge, the job can be resumed by hand."""
    complete(tuning, running(tuning, create_job))
    claim = running(tuning, create_job)
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


def test_a_job_created_after_the_deletion_makes_the_task_anew(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Only jobs from before the deletion end."""
    store.create_task(F, "mood")
    store.delete_task(F, "mood")
    assert complete(tuning, running(tuning, create_job))


def test_a_command_publishes_nothing_to_a_task_deleted_since(store: Store, tuning: TuningStore) -> None:
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


def test_a_later_version_is_promoted_unless_the_alias_has_moved(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """Only where the job asks for it; the alias's history has the reason."""
    store.publish("mood", checkpoint(seed=8), Manifest())
    etag = store.get_alias(F, "mood", "production").etag
    assert not complete(tuning, running(tuning, create_job), seed=2)
    assert complete(tuning, running(tuning, create_job), Promotion(True, False, etag, "gate: 0.9"), seed=3)
    assert store.get_task(F, "mood").production_version == 3
    assert store.alias_history(F, "mood", "production")[0].reason == "gate: 0.9"
    claim = running(tuning, create_job)
    assert not complete(tuning, claim, Promotion(True, False, etag), seed=4), "moved since the etag was read"
    assert "has been moved meanwhile" in messages(tuning, claim.job_id)[-1]
    assert store.get_task(F, "mood").production_version == 3


def test_a_first_version_that_was_refused_is_not_in_production(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """It is published all the same."""
    assert not complete(tuning, running(tuning, create_job), Promotion(is_wanted=True, is_refused=True))
    assert store.get_task(F, "mood").production_version is None
    assert store.get_version(F, "mood", 1).version == 1


def test_the_same_content_again_is_the_same_version(
    store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]
) -> None:
    """The job ends with the version that is there, and its log says so."""
    complete(tuning, running(tuning, create_job), seed=1)
    claim = running(tuning, create_job)
    complete(tuning, claim, seed=1)
    assert tuning.get_job(F, claim.job_id).version == 1
    assert "already is" in messages(tuning, claim.job_id)[-1]


def test_a_plot_goes_with_its_version(store: Store, tuning: TuningStore, create_job: Callable[..., JobRecord]) -> None:
    """No other version has it, and it is removed with its version."""
    complete(tuning, running(tuning, create_job), seed=1)
    store.publish("mood", checkpoint(seed=2), Manifest(), promote=True)
    with pytest.raises(PlotNotFound):
        tuning.load_plot(F, "mood", 2)
    store.retire_version(F, "mood", 1)
    maintenance.gc(store, grace_s=0.0)
    store.purge_task(F, "mood")
    assert maintenance.verify(store).problems == ()
