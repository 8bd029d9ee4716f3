"""What operators do while clients ask: publish, promote, roll back, retire, purge; and jobs that tune."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from tests.system.live_server import checkpoint
from tests.system.soak.load import BASE, MOVING, World, answered, check
from tests.system.tuning_demo import LABELS, examples, jsonl

HIDDEN_SIZE = 256
NUM_KEPT = 3
ALIAS = f"/v1/tasks/{MOVING}/aliases/production"
MANIFEST = {"defaults": {"temperature": 0, "max_tokens": 6, "ignore_eos": True}}
PAUSE_S = 0.5


async def publish(world: World, task: str, seed: int) -> dict[str, Any]:
    """Publish random rows."""
    files = checkpoint(seed, num_virtual_tokens=4 + seed % 20, hidden_size=HIDDEN_SIZE)
    response = await world.client.post(
        f"/v1/tasks/{task}/versions",
        files={name: (name, content) for name, content in files.items()},
        data={"manifest": json.dumps(MANIFEST)},
    )
    version: dict[str, Any] = answered(response).json()
    return version


class Changes:
    """One turn is one new version of the moving task; every fourth, a task of its own comes and goes."""

    def __init__(self) -> None:
        self._turns = itertools.count(1)

    async def changed(self, world: World) -> None:
        """Publish, learn its answer by its number, promote; then back, and forth again; retire what is old."""
        turn = next(self._turns)
        version = await publish(world, MOVING, turn)
        await self._learn(world, version)
        await self._promote(world, version["version"])
        if turn > 1:
            back = answered(await world.client.post(f"{ALIAS}/rollback")).json()
            check(back["version"] == version["version"] - 1, f"rolled back to {back}")
            await self._promote(world, version["version"])
        if turn > NUM_KEPT:
            answered(await world.client.delete(f"/v1/tasks/{MOVING}/versions/{version['version'] - NUM_KEPT}"))
        if turn % 4 == 0:
            await self._come_and_go(world, turn)
        await asyncio.sleep(PAUSE_S)

    async def _learn(self, world: World, version: dict[str, Any]) -> None:
        ask = {"model": f"{MOVING}@{version['version']}", "prompt": world.questions[0].text}
        response = await world.post("/v1/completions", ask)
        world.moving[version["digest"]] = response.json()["choices"][0]["text"]

    async def _promote(self, world: World, version: int) -> None:
        etag = answered(await world.client.get(ALIAS)).headers["etag"]
        answered(await world.client.put(ALIAS, json={"version": version}, headers={"if-match": etag}))

    async def _come_and_go(self, world: World, turn: int) -> None:
        task = f"passing-{turn}"
        ask = {"model": task, "prompt": "a"}
        await publish(world, task, turn)
        await world.post("/v1/completions", ask)
        answered(await world.client.delete(f"/v1/tasks/{task}", params={"purge": True}))
        gone = await world.client.post("/v1/completions", json=ask)
        check(gone.status_code == 404, f"a purged task answers {gone.status_code}")


class Tuning:
    """One turn is one job, which publishes a task that is asked and purged; every third is cancelled."""

    def __init__(self) -> None:
        self._turns = itertools.count(1)

    async def tuned(self, world: World) -> None:
        """Upload examples, tune, ask, purge with everything that the job left."""
        turn = next(self._turns)
        task = f"tuned-{turn}"
        content = jsonl(examples(turn, 64))
        file = answered(
            await world.client.post(
                "/v1/files", files={"file": ("train.jsonl", content)}, data={"purpose": "fine-tune"}
            )
        ).json()
        body = {
            "model": BASE, "training_file": file["id"], "suffix": task, "seed": turn, "labels": list(LABELS),
            "hyperparameters": {"num_steps": 20, "batch_size": 8},
        }  # fmt: skip
        job = answered(await world.client.post("/v1/fine_tuning/jobs", json=body)).json()
        expected = "succeeded"
        if turn % 3 == 0:
            expected = "cancelled"
            await self._await(world, job["id"], "running")
            await world.client.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")
        ended = await self._await(world, job["id"], "succeeded", "failed", "cancelled")
        check(ended["status"] in (expected, "succeeded"), f"a job ended otherwise: {ended}")
        if ended["status"] == "succeeded":
            await world.post("/v1/completions", {"model": ended["fine_tuned_model"], "prompt": "a"})
            answered(await world.client.delete(f"/v1/tasks/{task}", params={"purge": True}))

    async def _await(self, world: World, job_id: str, *statuses: str) -> dict[str, Any]:
        while True:
            job: dict[str, Any] = answered(await world.client.get(f"/v1/fine_tuning/jobs/{job_id}")).json()
            if job["status"] in statuses or job["finished_at"] is not None:
                return job
            await asyncio.sleep(0.5)
