"""Runner of tuning jobs over fake runs: from the queue to a live version, cancelling, shutdown and counts."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

from prompts_store import maintenance
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.tuning_store import TuningStore
from tests.fakes.tuning_run import PNG
from tests.jobs.bench import REQUEST, F, Gateway


async def test_a_job_becomes_a_version_with_its_provenance(bench):
    """From the queue to a live version: manifest, metrics, plot and log."""
    job_id = bench.create(replace(REQUEST, manifest=Manifest(template="{input} ->", note="try")))
    async with bench.server():
        done = await bench.until(job_id, "succeeded", "failed")
        served = await bench.catalog.resolve(TaskReference.parse("mood"))
    assert (done.status, done.error, done.version, done.trained_tokens) == ("succeeded", None, 1, 50)
    manifest = served.record.manifest
    assert served.record.created_by == "ann"
    assert manifest.training_data_digest == bench.tuning.get_file(done.training_file).sha256
    assert (manifest.template, manifest.note, manifest.parent_version) == ("{input} ->", "try", None)
    assert manifest.defaults == {"temperature": 0.0, "max_tokens": 4}, "as long as the longest answer, its end included"
    assert manifest.metrics["exact_match"] == done.metrics["exact_match"] == 1.0
    assert bench.tuning.load_plot(F, "mood", 1) == PNG
    told = bench.messages(job_id)
    assert told[0] == "The job was created."
    assert "2 of 20 examples are held out for validation." in told
    assert [text for text in told if text.startswith("Step ")][-1].startswith("Step 5/5")
    assert told[-1] == "The job made version 1 of task mood, which is in production."
    assert maintenance.verify(bench.store).problems == ()


async def test_jobs_run_one_after_another(bench):
    """The oldest job first, and never two runs at once."""
    running, most = 0, 0

    def on_step(step: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        running -= 1

    bench.control.on_step = on_step
    ids = [bench.create(task=f"task-{number}") for number in range(4)]
    async with bench.server():
        for job_id in ids:
            assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert most == 1
    starts = [bench.job(job_id).started_at for job_id in ids]
    assert starts == sorted(starts)


async def test_a_cancelled_job_stops_between_two_pieces(bench):
    """The next job runs, and nothing is published for the cancelled one."""
    bench.control.on_step = gate = Gateway(2)
    job_id = bench.create()
    async with bench.server() as runner:
        await gate.until_reached()
        bench.tuning.cancel_job(F, job_id)
        runner.nudge()
        other = bench.create(task="other")
        gate.open.set()
        assert (await bench.until(other, "succeeded", "failed")).status == "succeeded"
    assert bench.job(job_id).status == "cancelled"
    assert [task.name for task in bench.store.list_tasks(F)] == ["other"]
    assert maintenance.verify(bench.store).problems == ()


async def test_two_servers_share_the_jobs(bench):
    """Each job runs on one of them, once."""
    ids = [bench.create(task=f"task-{number}") for number in range(6)]
    async with bench.server(owner="a"), bench.server(owner="b"):
        for job_id in ids:
            assert (await bench.until(job_id, "succeeded", "failed")).status == "succeeded"
    assert sorted(bench.control.began_at) == [0] * 6, "no job was run twice"


async def test_a_run_may_begin_while_its_validation_ends(bench, monkeypatch, caplog):
    """Each is a claim of its own: the end of one does not forget the other, and the runner ends when it is told to."""
    mark_valid, began = TuningStore.mark_valid, threading.Event()

    def slow(self, *args):
        mark_valid(self, *args)
        assert began.wait(30)

    monkeypatch.setattr(TuningStore, "mark_valid", slow)
    bench.control.on_step = lambda step: began.set()
    done = await bench.run(bench.create())
    assert done.status == "succeeded"
    assert "failed in a step" not in caplog.text


async def test_jobs_steps_and_seconds_are_counted(bench):
    """Jobs by state and outcome, steps of the running one and of all, and seconds of the engine's thread."""
    gateway = Gateway(step=3)
    bench.control.on_step = gateway
    job_id = bench.create()
    async with bench.server() as runner:
        await gateway.until_reached()
        during = runner.stats
        assert (during.num_validating, during.num_running) == (0, 1)
        assert (during.step, during.num_steps) == (3, 5)
        gateway.open.set()
        await bench.until(job_id, "succeeded")
        failed = bench.create(lines=b"not json")
        await bench.until(failed, "failed")
        async with asyncio.timeout(30):
            while (stats := runner.stats).num_validating or not (stats.num_succeeded and stats.num_failed):
                await asyncio.sleep(0.005)
    assert (stats.num_succeeded, stats.num_failed, stats.num_cancelled) == (1, 1, 0)
    assert (stats.num_running, stats.step, stats.num_steps_done) == (0, 0, 5)
    assert stats.busy_s > 0


async def test_a_cancelled_job_is_counted_as_cancelled(bench):
    """By the server that worked on it."""
    gateway = Gateway(step=1)
    bench.control.on_step = gateway
    job_id = bench.create()
    async with bench.server() as runner:
        await gateway.until_reached()
        bench.tuning.cancel_job(F, job_id)
        gateway.open.set()
        async with asyncio.timeout(30):
            while not runner.stats.num_cancelled:
                await asyncio.sleep(0.005)
    assert runner.stats.num_succeeded == 0


async def test_a_claim_during_a_shutdown_is_given_back(bench, monkeypatch):
    """Nobody else would know of it."""
    claim_job, claimed, go_on = TuningStore.claim_job, threading.Event(), threading.Event()

    def slow(self, *args):
        found = claim_job(self, *args)
        if found is not None:
            claimed.set()
            assert go_on.wait(30)
        return found

    monkeypatch.setattr(TuningStore, "claim_job", slow)
    job_id = bench.create()
    async with bench.server():
        assert await asyncio.to_thread(claimed.wait, 30)
        threading.Timer(0.05, go_on.set).start()
    left = bench.job(job_id)
    assert (left.status, left.claimed_by) == ("validating_files", None)


async def test_a_claim_that_fails_does_not_hold_up_a_shutdown(bench, monkeypatch, caplog):
    """Whatever it fails with: the runner is still told to end."""
    asked, go_on = threading.Event(), threading.Event()

    def failing(self, *_):
        asked.set()
        assert go_on.wait(30)
        raise KeyError("not an error of the store's")

    monkeypatch.setattr(TuningStore, "claim_job", failing)
    async with asyncio.timeout(20), bench.server():
        assert await asyncio.to_thread(asked.wait, 30)
        threading.Timer(0.05, go_on.set).start()
    assert "could not be given back" in caplog.text
