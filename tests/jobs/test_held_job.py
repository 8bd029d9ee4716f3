"""A claimed job ends or is given back: after a shutdown, an outage of the store, a failure, or a stop of the engine."""

from __future__ import annotations

import math

from prompts_store.errors import StoreUnavailable
from prompts_store.tuning_store import TuningStore
from server.engine.errors import EngineStopped
from server.tuning.errors import TuningDiverged
from tests.jobs.bench import Gateway


async def test_a_shutdown_within_a_long_piece_gives_the_job_back(bench):
    """Rolling restarts, however many, are not servers that the job has ended."""
    job_id = bench.create()
    for _ in range(4):
        bench.control.on_step = gate = Gateway(0)
        async with bench.server(checkpoint_s=1000.0, leave_timeout_s=0.05):
            await gate.until_reached()
        left = bench.job(job_id)
        gate.open.set()
        assert (left.status, left.claimed_by) == ("queued", None)
    bench.control.on_step = lambda step: None
    assert (await bench.run(job_id)).status == "succeeded"


async def test_the_store_may_be_away_for_a_while(bench, monkeypatch):
    """Beats, checkpoints and the publication itself fail for a time: nothing is lost, and the job ends once."""
    failing = {"save_checkpoint": 2, "beat": 3, "complete_job": 2, "load_file": 1, "release_job": 2}

    def shaky(name):
        original = getattr(TuningStore, name)

        def call(self, *args, **kwargs):
            if failing[name] > 0:
                failing[name] -= 1
                raise StoreUnavailable("The disk is full.")
            return original(self, *args, **kwargs)

        return call

    for name in failing:
        monkeypatch.setattr(TuningStore, name, shaky(name))
    job_id = bench.create()
    done = await bench.run(job_id)
    assert (done.status, done.version) == ("succeeded", 1)
    assert not any(failing[name] for name in ("complete_job", "save_checkpoint", "load_file", "release_job"))


async def test_a_failure_keeps_its_events_until_it_is_written(bench, monkeypatch):
    """What the run told before it failed is in the log, in order, though beats and the first writes did not pass."""
    fail_job, left = TuningStore.fail_job, [1, 1]

    def away(self, *args, **kwargs):
        raise StoreUnavailable("The disk is full.")

    def shaky(self, *args, **kwargs):
        return away(self) if left and left.pop() else fail_job(self, *args, **kwargs)

    def diverge(step: int) -> None:
        if step == 3:
            raise TuningDiverged("the loss is not finite")

    monkeypatch.setattr(TuningStore, "beat", away)
    monkeypatch.setattr(TuningStore, "fail_job", shaky)
    bench.control.on_step = diverge
    job_id = bench.create()
    assert (await bench.run(job_id)).status == "failed"
    told = [text.partition(":")[0] for text in bench.messages(job_id)]
    assert told[-4:] == ["Step 1/5", "Step 2/5", "Step 3/5", "The job failed"]


async def test_a_failure_is_written_without_unwritable_events(bench):
    """JSON has no word for an infinite loss."""

    def diverge(step: int) -> None:
        if step == 3:
            raise TuningDiverged("the loss is not finite")

    bench.control.on_step, bench.control.loss = diverge, lambda step: math.inf
    failed = await bench.run(bench.create(), checkpoint_s=1000.0)
    assert (failed.status, failed.error.code) == ("failed", "diverged")


async def test_an_engine_that_stops_gives_the_job_back(bench):
    """The job is claimed again, and ends."""
    calls = []

    def stop_once(step: int) -> None:
        calls.append(step)
        if len(calls) == 2:
            raise EngineStopped("the engine has stopped")

    bench.control.on_step = stop_once
    done = await bench.run(bench.create())
    assert done.status == "succeeded"
    assert len(bench.control.began_at) == 2
