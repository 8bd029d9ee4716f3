"""Jobs of servers that have stopped: claimed by others, or failed after the third."""

from __future__ import annotations

import itertools

import pytest

from prompts_store.errors import StoreUnavailable
from prompts_store.tuning_records import JobError, JobStatus
from prompts_store.tuning_store import TuningStore
from server.jobs.takeover import TakeOver
from server.threads import Threads
from tests.jobs.bench import F


def seconds(each: float):
    """A clock that goes on by this much whenever it is read, and so with every look at the heartbeats."""
    return itertools.count(step=each).__next__


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_the_job_of_a_dead_server_is_taken_over(bench):
    """The log says which server has stopped."""
    job_id = bench.create()
    claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "dead")
    bench.tuning.mark_valid(claim)
    bench.tuning.claim_job(F, JobStatus.QUEUED, "dead")
    done = await bench.run(job_id, clock=seconds(60))
    assert done.status == "succeeded"
    assert any("(dead) has stopped" in text for text in bench.messages(job_id))


@pytest.mark.parametrize("status", [JobStatus.VALIDATING_FILES, JobStatus.QUEUED])
async def test_a_job_that_stops_one_server_after_another_fails(bench, status):
    """Whatever ends them: a watchdog, a lack of memory, a person. The server that sees it goes on with other jobs."""
    job_id = bench.create()
    if status is JobStatus.QUEUED:
        claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a")
        bench.tuning.mark_valid(claim)
    for _ in range(2):
        bench.tuning.claim_job(F, status, "dead")
        (silent,) = bench.tuning.heartbeats(F)
        bench.tuning.take_over(silent, JobError("unused", ""))
    bench.tuning.claim_job(F, status, "dead")
    other = bench.create(task="other")
    async with bench.server(clock=seconds(60)) as runner:
        failed = await bench.until(job_id, "failed", "succeeded")
        assert (await bench.until(other, "failed", "succeeded")).status == "succeeded"
        assert runner.stats.num_failed == 1
    assert failed.error.code == "server_stopped"
    assert failed.error.message.startswith("one server after another stopped while it ")
    assert bench.control.began_at == [0]
    assert "The server that worked on it (dead) has stopped." in bench.messages(job_id)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def take_over(bench, clock):
    """The take-over of a server of its own, ten seconds after the last heartbeat that it has seen."""
    threads = Threads("test", 1)
    yield TakeOver(bench.tuning, threads, F, 10.0, clock)
    threads.close()


async def released(take_over, own=()) -> list[str]:
    return [status async for status in take_over.release_stale(own)]


async def test_a_claim_is_stale_after_the_full_time_of_silence(bench, take_over, clock):
    """Not a moment sooner, and counted from the first look; a heartbeat in between begins the time anew."""
    bench.create()
    claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "elsewhere")
    assert await released(take_over) == []
    clock.now_s = 9.0
    bench.tuning.beat(claim)
    assert await released(take_over) == []
    clock.now_s = 19.0
    assert await released(take_over) == []
    clock.now_s = 19.1
    assert await released(take_over) == ["validating_files"]
    assert await released(take_over) == []


async def test_own_claims_are_never_stale(bench, take_over, clock):
    """A server knows that it lives, however long its heartbeat cannot be written."""
    bench.create()
    claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "here")
    assert await released(take_over, [claim]) == []
    clock.now_s = 1000.0
    assert await released(take_over, [claim]) == []


@pytest.mark.parametrize("name", ["heartbeats", "take_over"])
async def test_an_outage_of_the_store_makes_no_claim_stale(bench, monkeypatch, take_over, clock, name):
    """The first server that reads after it gives the others the time to beat again."""

    def away(self, *args):
        raise StoreUnavailable("The disk is full.")

    job_id = bench.create()
    bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "elsewhere")
    await released(take_over)
    clock.now_s = 60.0
    with monkeypatch.context() as outage, pytest.raises(StoreUnavailable):
        outage.setattr(TuningStore, name, away)
        await released(take_over)
    await released(take_over)
    assert bench.job(job_id).claimed_by == "elsewhere"
    clock.now_s = 120.0
    await released(take_over)
    assert bench.job(job_id).claimed_by is None
