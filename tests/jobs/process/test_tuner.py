"""The server's side of the tuning process: what it reports, and what becomes of a process that has ended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

from server.jobs.process.child import TuningChild
from server.jobs.process.tuner import ProcessTuner
from tests.fakes.checkpoints import BASE
from tests.jobs.process.commands import scripted

PREPARER = SimpleNamespace(host=SimpleNamespace(base=BASE))


@asynccontextmanager
async def tuning(owned_tasks=lambda: (), first_pause_s=0.01, **values):
    """A tuner over a scripted process."""
    child = TuningChild(scripted(fingerprint=BASE.fingerprint, **values))
    child.prove(BASE.fingerprint)
    tuner = ProcessTuner(child, PREPARER, owned_tasks, first_pause_s)
    async with tuner.running():
        yield tuner


async def until(is_so):
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_the_process_is_told_of_jobs_and_its_reports_are_the_stats():
    """The first word begins the work, every further one reads the store at once."""
    async with tuning() as tuner:
        await until(lambda: tuner.stats.num_succeeded == 1)
        tuner.nudge()
        await until(lambda: tuner.stats.num_succeeded == 2)
        assert (tuner.problem, tuner.host, tuner.preparer) == (None, PREPARER.host, PREPARER)


async def test_the_process_is_told_which_tasks_a_folder_publishes():
    """Also where they have changed since the last word."""
    tasks = {"mood"}
    async with tuning(lambda: tasks) as tuner:
        await until(lambda: tuner.stats.num_validating == 1)
        tasks = {"mood", "tone"}
        tuner.nudge()
        await until(lambda: tuner.stats.num_validating == 2)


async def test_a_process_that_ends_is_started_again(tmp_path, caplog):
    """Until it works nothing is accepted, and the reason is said. Its totals are added to those before."""
    broken = tmp_path / "broken"
    async with tuning(dies_at=3, broken=str(broken)) as tuner:
        await until(lambda: tuner.stats.num_succeeded == 1)
        tuner.nudge()
        await until(lambda: tuner.stats.num_succeeded == 2)
        broken.touch()
        tuner.nudge()
        await until(lambda: "does not start, and the server's log says why" in str(tuner.problem))
        assert tuner.stats.num_succeeded == 2
        broken.unlink()
        await until(lambda: tuner.problem is None)
        await until(lambda: tuner.stats.num_succeeded == 3)
    assert "the tuning process has failed: the store has gone" in caplog.text
    assert "the tuning process ended with status 4 before it was ready" in caplog.text
    assert "the tuning process ended with status 3; it is started again in 0 s" in caplog.text


async def test_a_stop_does_not_wait_for_the_pause():
    """The server is not held up by a process that has ended."""
    async with tuning(first_pause_s=3600.0, dies_at=1) as tuner:
        await until(lambda: tuner.problem is not None)


async def test_a_stop_ends_a_process_that_is_still_starting(tmp_path, caplog):
    """Which may load a large base model."""
    stuck = tmp_path / "stuck"
    async with tuning(dies_at=2, stuck=str(stuck)) as tuner:
        await until(lambda: tuner.stats.num_succeeded == 1)
        first, _ = tuner._child, stuck.touch()
        tuner.nudge()
        await until(lambda: tuner._child is not first)
    assert "works again" not in caplog.text
