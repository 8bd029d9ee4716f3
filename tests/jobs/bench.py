"""A store with tuning jobs, and servers that work on them by fake runs."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager

from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_records import NewJob
from prompts_store.tuning_store import TuningStore
from server.jobs.request import JobRequest, request_to_json
from server.soft_prompts.catalog import TaskCatalog
from server.store_follower import StoreFollower
from server.tuning.plan import TuningPlan
from tests.fakes.checkpoints import BASE
from tests.fakes.tuning_run import RunControl, fake_runner

F = BASE.fingerprint
LINES = [json.dumps({"prompt": f"input {n}", "completion": "yes" if n % 2 else "no"}) for n in range(20)]
REQUEST = JobRequest(TuningPlan(num_steps=5, num_virtual_tokens=4, seed=3), Manifest(template="{input} ->"))


class Bench:
    """A store with jobs, and servers that work on them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tuning = TuningStore(store)
        self.control = RunControl()

    def create(self, request: JobRequest = REQUEST, task: str = "mood", lines=LINES, validation=None) -> int:
        content = "\n".join(lines).encode() if isinstance(lines, list) else lines
        files = [self.tuning.add_file("f.jsonl", "fine-tune", [one]).id for one in (content, validation) if one]
        job = NewJob(F, task, files[0], files[1] if validation else None, 3, request_to_json(request))
        return self.tuning.create_job(job, max_unfinished=50, actor="ann").id

    def job(self, job_id: int):
        return self.tuning.get_job(F, job_id)

    def messages(self, job_id: int) -> list[str]:
        return [event.message for event in self.tuning.list_events(F, job_id, limit=1000)][::-1]

    def digest(self, task: str = "mood") -> str:
        return self.store.get_version(F, task, 1).digest

    def runner(self, **options):
        follower = StoreFollower(self.store)
        self.catalog = TaskCatalog(self.store, BASE, follower)
        follower.subscribe(self.catalog)
        return fake_runner(self.store, BASE, follower, self.control, **options)

    @asynccontextmanager
    async def server(self, **options):
        runner = self.runner(**options)
        async with runner.running():
            yield runner

    async def until(self, job_id: int, *statuses: str):
        async with asyncio.timeout(30):
            while self.job(job_id).status not in statuses:
                await asyncio.sleep(0.005)
        return self.job(job_id)

    async def run(self, job_id: int, **options):
        async with self.server(**options):
            return await self.until(job_id, "succeeded", "failed", "cancelled")


class Gateway:
    """Holds runs back before a step until it is opened."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, step: int) -> None:
        if step == self.step:
            self.reached.set()
            assert self.open.wait(30)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


async def pause_at(gate: Gateway, bench: Bench, runner, job_id: int) -> None:
    """Pause a job before a step, and wait until it has been saved."""
    await gate.until_reached()
    bench.tuning.pause_job(F, job_id)
    runner.nudge()
    gate.open.set()
    async with asyncio.timeout(30):
        while not bench.tuning.list_checkpoints(F, job_id):
            await asyncio.sleep(0.005)
