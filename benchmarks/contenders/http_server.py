"""(f) This server over HTTP: `softprompt serve` in a process of its own, one streaming client a request.

Settings are those of `softprompt serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from benchmarks.clients import in_turn, sleep_until
from benchmarks.contender import Answer, Run, Setup
from benchmarks.live_server import checkpoint, live_server, stream_completion
from benchmarks.workload import BenchRequest, Workload, soft_prompt, tasks_of


class HttpContender:
    """A server, and the soft prompts that were published on it."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._exits = contextlib.ExitStack()
        settings = {
            "threads": setup.threads,
            "max_num_seqs": setup.max_num_seqs,
            "kv_cache_gib": 1.0,
            "base_name": setup.model.name,
        }
        if setup.model.name != "demo":
            settings["base_model"] = setup.model.folder
        self._address = self._exits.enter_context(live_server(**(settings | setup.settings)))
        self._published: set[str] = set()
        with httpx.Client(base_url=self._address, timeout=60) as client:
            self._base_id: str = client.get("/v1/models").raise_for_status().json()["data"][0]["id"]

    def run(self, workload: Workload) -> Run:
        """See `Contender`. Publishing is not part of the run; reading from the store and making resident is."""
        self._publish(workload)
        return asyncio.run(self._send(workload))

    def close(self) -> None:
        """See `Contender`."""
        self._exits.close()

    def _publish(self, workload: Workload) -> None:
        model, num_virtual = self._setup.model, workload.num_virtual_tokens
        with httpx.Client(base_url=self._address, timeout=60) as client:
            for task in tasks_of(workload.requests):
                name = _name(task, num_virtual)
                if name not in self._published:
                    matrix = soft_prompt(task, num_virtual, model.hidden_size, model.embedding_std)
                    client.post(f"/v1/tasks/{name}/versions", files=checkpoint(matrix)).raise_for_status()
                    self._published.add(name)

    async def _send(self, workload: Workload) -> Run:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(base_url=self._address, timeout=600, limits=limits) as client:
            began = time.perf_counter()
            jobs = [self._job(client, request, workload.num_virtual_tokens, began) for request in workload.requests]
            answers = await in_turn(jobs, workload.num_clients)
            return Run(time.perf_counter() - began, tuple(answers))

    def _job(
        self, client: httpx.AsyncClient, request: BenchRequest, num_virtual: int, began: float
    ) -> Callable[[], Awaitable[Answer]]:
        body = {
            "model": self._base_id if request.task is None else _name(request.task, num_virtual),
            "prompt": list(request.prompt),
            "max_tokens": request.num_output,
            "temperature": 0,
            "ignore_eos": True,
        }
        return lambda: _answer(client, body, began, request.start_s)


async def _answer(client: httpx.AsyncClient, body: dict[str, Any], began: float, start_s: float) -> Answer:
    await sleep_until(began + start_s)
    sent = time.perf_counter() - began
    tokens: list[int] = []
    times: list[float] = []
    async for piece in stream_completion(client, body):
        tokens += piece
        times += [time.perf_counter() - began] * len(piece)
    return Answer(tuple(tokens), sent, time.perf_counter() - began, tuple(times))


def _name(task: int, num_virtual: int) -> str:
    return f"task-{task}-{num_virtual}"
