"""Pieces and checkpoints of one run: it resumes where it was, and its log has every step once."""

from __future__ import annotations

import threading

import pytest

from server.jobs.training import pause_after
from tests.jobs.bench import F, Gateway, pause_at

EVERY_STEP = [f"Step {step}/5" for step in range(1, 6)]


async def test_a_paused_job_goes_on_where_it_was(bench):
    """Its digest is that of a job that was never paused."""
    bench.control.on_step = gate = Gateway(2)
    job_id = bench.create()
    async with bench.server(checkpoint_s=1000.0) as runner:
        await pause_at(gate, bench, runner, job_id)
        assert bench.job(job_id).status == "paused"
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        done = await bench.until(job_id, "succeeded", "failed")
    assert bench.control.began_at[0] == 0
    assert bench.control.began_at[1] >= 3
    assert done.trained_tokens == 50
    paused_digest = bench.digest()
    await bench.run(bench.create(task="undisturbed"))
    assert bench.digest("undisturbed") == paused_digest


def steps_told(bench, job_id: int) -> list[str]:
    return [text.partition(":")[0] for text in bench.messages(job_id) if text.startswith("Step ")]


async def test_a_pause_leaves_no_step_out_of_the_log(bench):
    """What no beat had carried is written with the checkpoint, since the job goes on behind it."""
    bench.control.on_step = gate = Gateway(3)
    job_id = bench.create()
    async with bench.server(checkpoint_s=1000.0, heartbeat_s=1000.0) as runner:
        await pause_at(gate, bench, runner, job_id)
        bench.tuning.resume_job(F, job_id)
        runner.nudge()
        await bench.until(job_id, "succeeded", "failed")
    assert steps_told(bench, job_id) == EVERY_STEP


async def test_a_checkpoint_carries_the_events_before_it(bench):
    """A server that is killed right behind it, before the next beat, takes no event along."""
    bench.control.on_step = gate = Gateway(4)
    job_id = bench.create()
    async with bench.server(heartbeat_s=1000.0):
        await gate.until_reached()
        told = steps_told(bench, job_id)
        gate.open.set()
    assert told == EVERY_STEP[:4]


async def test_a_shutdown_leaves_a_checkpoint_for_the_next_server(bench):
    """The step that was running is in it."""
    bench.control.on_step = gate = Gateway(3)
    job_id = bench.create()
    async with bench.server(checkpoint_s=1000.0):
        await gate.until_reached()
        threading.Timer(0.05, gate.open.set).start()
    left = bench.job(job_id)
    assert (left.status, left.claimed_by) == ("queued", None)
    assert bench.tuning.list_checkpoints(F, job_id)[0].step == 4
    done = await bench.run(job_id)
    assert bench.control.began_at == [0, 4]
    assert (done.status, done.trained_tokens) == ("succeeded", 50)
    assert "The job goes on from its checkpoint at step 4." in bench.messages(job_id)


@pytest.mark.parametrize(
    ("took_s", "interval_s", "pause_s"),
    [(0.1, 30.0, 30.0), (1.5, 30.0, 30.0), (12.0, 30.0, 240.0), (300.0, 30.0, 600.0), (5.0, 0.0, 0.0)],
)
def test_a_state_that_takes_long_to_save_is_saved_more_rarely(took_s, interval_s, pause_s):
    """It holds the database's write lock meanwhile, which every other write needs."""
    assert pause_after(took_s, interval_s) == pytest.approx(pause_s)
