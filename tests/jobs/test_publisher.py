"""What comes of a run: judged or not, published, promoted where its gate opens; and what is kept where it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from prompts_store import maintenance
from prompts_store.errors import InvalidManifest, StoreCorrupt
from prompts_store.store import Store
from prompts_store.tuning_errors import JobStatusConflict
from prompts_store.tuning_store import TuningStore
from server.jobs.request import JobRequest
from server.store_follower import StoreFollower
from server.tuning.errors import (
    CheckpointUnreadable,
    EvaluationFailed,
    ExamplesRefused,
    TuningDiverged,
    TuningUnsupported,
)
from server.tuning.gate import Gate
from tests.jobs.bench import REQUEST, F, Gateway, pause_at


def cannot_be_scored(*names: str):
    """Fails the evaluation of these candidates."""

    def fail(name: str) -> None:
        if name in names:
            raise EvaluationFailed(f"the engine failed while {name} was evaluated", code="engine_failed")

    return fail


@pytest.mark.parametrize("promote", [True, False])
async def test_a_result_without_scores_is_published_and_not_promoted(bench, promote):
    """What was learnt is there, with the reason; nothing serves it until somebody says so."""
    bench.control.on_evaluate = cannot_be_scored("mood (new)")
    job_id = bench.create(replace(REQUEST, promote=promote))
    done = await bench.run(job_id)
    assert (done.status, done.version) == ("succeeded", 1)
    assert bench.store.get_task(F, "mood").production_version is None
    reason = "the engine failed while mood (new) was evaluated"
    metrics = bench.store.get_version(F, "mood", 1).manifest.metrics
    assert metrics["not_evaluated"] == done.metrics["not_evaluated"] == reason
    assert "exact_match" not in metrics
    (told,) = [event for event in bench.tuning.list_events(F, job_id) if event.level == "warn"]
    assert told.message == f"There are no scores: {reason}. The version is published, and not promoted."


async def test_a_gate_without_scores_stays_shut(bench):
    """Even one that every score would pass."""
    bench.control.on_evaluate = cannot_be_scored("mood (new)")
    job_id = bench.create(gated(min_score=0.0))
    assert (await bench.run(job_id)).status == "succeeded"
    assert bench.store.get_task(F, "mood").production_version is None
    assert any("The gate stayed shut: there is no score: the engine failed" in text for text in bench.messages(job_id))


def damage_tensors(bench) -> None:
    with bench.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE tensors SET data = zeroblob(length(data))")


def refuse_the_rival(bench) -> None:
    bench.control.on_evaluate = cannot_be_scored("mood@1")


def take_a_row_from_the_rival(bench) -> None:
    def refuse(name: str) -> None:
        if name == "mood@1":
            raise ExamplesRefused("the text holds token id 9", code="token_out_of_range", line=3)

    bench.control.on_evaluate = refuse


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damage_tensors, "digest"),
        (refuse_the_rival, "the engine failed while mood@1 was evaluated"),
        (take_a_row_from_the_rival, "the text holds token id 9"),
    ],
)
async def test_a_rival_that_cannot_be_scored_keeps_the_gate_shut(bench, spoil, why):
    """Its tensors are damaged, or the engine fails on it: the result is published beside it, and says why."""
    await bench.run(bench.create())
    spoil(bench)
    plan = replace(REQUEST.plan, seed=11)
    job_id = bench.create(replace(gated(not_worse_than_production=True), plan=plan))
    done = await bench.run(job_id)
    assert (done.status, done.version) == ("succeeded", 2)
    assert bench.store.get_task(F, "mood").production_version == 1
    told = next(text for text in bench.messages(job_id) if text.startswith("The gate stayed shut"))
    assert "no score of mood@1 to compare with" in told
    assert why in told


async def test_a_job_that_fails_after_its_training_can_be_resumed(bench, monkeypatch):
    """Nothing is trained again, and nothing is lost."""
    complete_job = TuningStore.complete_job

    def refused(self, *args, **kwargs):
        raise InvalidManifest("is not as it must be", param="manifest.note")

    monkeypatch.setattr(TuningStore, "complete_job", refused)
    job_id = bench.create()
    async with bench.server() as runner:
        failed = await bench.until(job_id, "failed", "succeeded")
        assert (failed.status, failed.error.code, failed.claimed_by) == ("failed", "invalid_manifest", None)
        monkeypatch.setattr(TuningStore, "complete_job", complete_job)
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert bench.control.began_at == [0, 5]
    assert "The job goes on from its checkpoint at step 5." in bench.messages(job_id)


async def test_a_task_that_a_folder_publishes_by_now_is_left_alone(bench):
    """Its job fails, and publishes once the folder has let go of the task."""

    def take_the_task(step: int) -> None:
        bench.control.owned_tasks = ("mood",)

    bench.control.on_step = take_the_task
    job_id = bench.create()
    async with bench.server() as runner:
        failed = await bench.until(job_id, "failed", "succeeded")
        assert (failed.status, failed.error.code) == ("failed", "task_read_only")
        assert bench.store.list_tasks(F) == ()
        bench.control.on_step, bench.control.owned_tasks = lambda step: None, ()
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"


RESUMABLE = "What it has learnt is kept: resumed, it goes on from there."
UNREADABLE = "Its saved state is kept, but this server cannot go on from it."


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (CheckpointUnreadable("the saved state is of another job"), UNREADABLE),
        (StoreCorrupt("A checkpoint does not agree with its digest."), UNREADABLE),
        (MemoryError(), RESUMABLE),
        (ExamplesRefused("has 9 tokens too many", code="example_too_long", line=3), RESUMABLE),
        (TuningUnsupported("this base model cannot be tuned"), RESUMABLE),
    ],
)
async def test_a_server_that_cannot_resume_a_job_leaves_its_state(bench, refusal, said):
    """A server with other options, of another release or with more memory can; the log promises no more than is so."""
    bench.control.on_step = gate = Gateway(2)
    job_id = bench.create()
    async with bench.server(checkpoint_s=1000.0) as runner:
        await pause_at(gate, bench, runner, job_id)
    build, bench.control.build = bench.control.build, raising(refusal)
    bench.tuning.resume_job(F, job_id)
    assert (await bench.run(job_id)).status == "failed"
    assert bench.messages(job_id)[-1] == said
    bench.control.build = build
    bench.tuning.resume_job(F, job_id)
    async with bench.server():
        assert (await bench.until(job_id, "succeeded")).version == 1
    assert bench.control.began_at[0] == 0
    assert bench.control.began_at[1] >= 3


def raising(error: Exception):
    def build(*_):
        raise error

    return build


async def test_a_run_that_diverged_keeps_nothing_to_go_on_from(bench):
    """It would only diverge again."""

    def diverge(step: int) -> None:
        if step == 3:
            raise TuningDiverged("the loss is not finite")

    bench.control.on_step = diverge
    job_id = bench.create()
    assert (await bench.run(job_id)).status == "failed"
    assert bench.tuning.list_checkpoints(F, job_id)
    with pytest.raises(JobStatusConflict):
        bench.tuning.resume_job(F, job_id)


async def test_a_catalog_that_cannot_be_read_again_does_not_undo_a_job(bench, monkeypatch):
    """The version is in the store, and the follower finds it."""

    async def refresh(self) -> None:
        raise StoreCorrupt("A row is damaged.")

    monkeypatch.setattr(StoreFollower, "refresh", refresh)
    async with bench.server() as runner:
        job_id = bench.create()
        assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
        async with asyncio.timeout(30):
            while not runner.stats.num_succeeded:
                await asyncio.sleep(0.005)


# --- deleted tasks ----------------------------------------------------------------------------------------------------


async def test_a_task_deleted_during_a_run_fails_its_job(bench):
    """Nothing is published; the job can be resumed by hand, from the step that it had reached."""
    await bench.run(bench.create())
    bench.control.on_step, bench.control.began_at = (gate := Gateway(3)), []
    job_id = bench.create(replace(REQUEST, plan=replace(REQUEST.plan, seed=20)))
    async with bench.server(checkpoint_s=1000.0) as runner:
        await gate.until_reached()
        bench.store.delete_task(F, "mood")
        runner.nudge()
        gate.open.set()
        async with asyncio.timeout(30):
            while not bench.tuning.list_checkpoints(F, job_id) or not runner.stats.num_failed:
                await asyncio.sleep(0.005)
        failed = bench.job(job_id)
        assert (failed.status, failed.error.code) == ("failed", "task_deleted")
        assert bench.store.list_tasks(F) == ()
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert bench.control.began_at[1] >= 3
    assert bench.store.get_task(F, "mood").production_version == 2
    assert maintenance.verify(bench.store).problems == ()


def delete_and_make_again(store: Store) -> None:
    store.delete_task(F, "mood")
    store.create_task(F, "mood", "another one's")


def purge(store: Store) -> None:
    store.purge_task(F, "mood")


@pytest.mark.parametrize("end", [delete_and_make_again, purge])
async def test_a_task_deleted_during_the_evaluation_stays_deleted(bench, end):
    """Nothing is published to it, nor to a new task of its name."""
    await bench.run(bench.create())
    job_id = bench.create(replace(REQUEST, plan=replace(REQUEST.plan, seed=20)))
    todo = [end]
    bench.control.on_evaluate = lambda name: todo and todo.pop()(bench.store)
    async with bench.server():
        other = bench.create(task="other")
        assert (await bench.until(other, "succeeded", "failed")).status == "succeeded"
    if end is delete_and_make_again:
        assert bench.job(job_id).error.code == "task_deleted"
        assert bench.store.list_versions(F, "mood") == ()
    else:
        assert [task.name for task in bench.store.list_tasks(F)] == ["other"]
    assert maintenance.verify(bench.store).problems == ()


# --- gate and promotion -----------------------------------------------------------------------------------------------


def gated(**gate) -> JobRequest:
    return replace(REQUEST, promote=True, gate=Gate(**gate))


async def test_a_first_version_below_the_gate_is_published_but_not_live(bench):
    """Without the gate it would be in production as the first version."""
    bench.control.score = 0.4
    job_id = bench.create(gated(min_score=0.9))
    done = await bench.run(job_id)
    assert (done.status, done.version) == ("succeeded", 1)
    assert bench.store.get_task(F, "mood").production_version is None
    assert any("stayed shut: exact_match 0.400 is below the required 0.900" in text for text in bench.messages(job_id))


async def test_a_gate_compares_with_production(bench):
    """A lower score keeps production, a higher one moves it."""
    await bench.run(bench.create())
    bench.control.scores = {"mood@1": 0.8}
    for seed, score, production in ((11, 0.7, 1), (12, 0.85, 3)):
        bench.control.score = score
        plan = replace(REQUEST.plan, seed=seed)
        done = await bench.run(bench.create(replace(gated(not_worse_than_production=True), plan=plan)))
        assert bench.store.get_version(F, "mood", done.version).manifest.parent_version == 1
        assert bench.store.get_task(F, "mood").production_version == production
    assert bench.store.alias_history(F, "mood", "production")[0].reason.startswith("tuned; gate: exact_match 0.850")


async def test_an_alias_moved_during_the_evaluation_is_not_moved_again(bench):
    """A person's move is later than the job's decision."""
    await bench.run(bench.create())
    await bench.run(bench.create(replace(REQUEST, plan=replace(REQUEST.plan, seed=20))))
    moved = []

    def move(name: str) -> None:
        moved.append(bench.store.put_alias(F, "mood", "production", 2, if_match=None, must_not_exist=False))

    bench.control.on_evaluate = move
    job_id = bench.create(replace(gated(min_score=0.5), plan=replace(REQUEST.plan, seed=21)))
    done = await bench.run(job_id)
    assert (done.status, done.version, len(moved)) == ("succeeded", 3, 1)
    assert bench.store.get_task(F, "mood").production_version == 2
    assert "production has been moved meanwhile" in bench.messages(job_id)[-1]


def retire_production(store: Store) -> None:
    store.put_alias(F, "mood", "production", 2, if_match=None, must_not_exist=False)
    store.retire_version(F, "mood", 1)


async def test_a_rival_retired_during_the_evaluation_is_still_compared(bench):
    """Everything of it is in memory before the result is scored."""
    await bench.run(bench.create())
    await bench.run(bench.create(replace(REQUEST, plan=replace(REQUEST.plan, seed=20))))
    todo = [retire_production]
    bench.control.on_evaluate = lambda name: todo and todo.pop()(bench.store)
    bench.control.scores = {"mood@1": 0.8}
    plan = replace(REQUEST.plan, seed=21)
    job_id = bench.create(replace(gated(not_worse_than_production=True), plan=plan))
    assert (await bench.run(job_id)).status == "succeeded"
    assert any("not below 0.800 of mood@1" in text for text in bench.messages(job_id))
