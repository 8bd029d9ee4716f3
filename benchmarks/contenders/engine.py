"""(e) This engine, called directly: the engine that the server would build, without HTTP.

Settings are those of `softprompt serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import torch

from benchmarks.clients import in_turn, sleep_until
from benchmarks.contender import Answer, Run, Setup
from benchmarks.workload import BenchRequest, Workload, soft_prompt, tasks_of
from server.app import build_services
from server.engine.client import EngineClient
from server.engine.events import EngineEvent, RequestFailed, TokenEvent
from server.engine.request import Generate, Request, SamplingParams
from server.model.prefix import Prefix, PrefixKind
from server.settings import ServeSettings

_COUNTS = ("num_steps", "num_prefix_loads", "num_preemptions")


class EngineContender:
    """The engine on its own thread and event loop, started once for all workloads."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._exits = contextlib.ExitStack()
        settings: dict[str, Any] = {
            "base_model": setup.model.folder,
            "threads": setup.threads,
            "max_num_seqs": setup.max_num_seqs,
            "kv_cache_gib": 1.0,
            "data_dir": self._exits.enter_context(tempfile.TemporaryDirectory()),
        }
        services = build_services(ServeSettings(**(settings | setup.settings)))
        self._exits.callback(services.store_access.store.close)
        self.engine: EngineClient = services.inference.engine
        self.loop = self._exits.enter_context(asyncio.Runner())
        self._running = self.engine.running()
        self.loop.run(self._running.__aenter__())
        self._num_sent = 0

    def run(self, workload: Workload) -> Run:
        """See `Contender`. The soft prompts are in host memory; making them resident is part of the run."""
        prefixes = self.prefixes(workload)
        before = self.engine.stats
        began = time.perf_counter()
        jobs = [self._job(request, prefixes, began) for request in workload.requests]
        answers = self.loop.run(in_turn(jobs, workload.num_clients))
        seconds = time.perf_counter() - began
        after = self.engine.stats
        counts = {name: getattr(after, name) - getattr(before, name) for name in _COUNTS}
        return Run(seconds, tuple(answers), counts)

    def close(self) -> None:
        """See `Contender`."""
        self.loop.run(self._running.__aexit__(None, None, None))
        self._exits.close()

    def prefixes(self, workload: Workload) -> dict[int, Prefix]:
        """The soft prompts that a workload names, by task."""
        model, num_virtual = self._setup.model, workload.num_virtual_tokens
        return {
            task: Prefix(
                f"{task:032x}{num_virtual:032x}",
                PrefixKind.EMBEDDINGS,
                torch.from_numpy(soft_prompt(task, num_virtual, model.hidden_size, model.embedding_std)),
            )
            for task in tasks_of(workload.requests)
        }

    def stream(self, request: BenchRequest, prefixes: dict[int, Prefix]) -> AsyncIterator[EngineEvent]:
        """Send a request."""
        self._num_sent += 1
        return self.engine.stream(
            Request(
                request_id=str(self._num_sent),
                task="" if request.task is None else f"task-{request.task}",
                prompt_token_ids=request.prompt,
                kind=Generate(SamplingParams(max_tokens=request.num_output, temperature=0.0, ignore_eos=True)),
                prefix=None if request.task is None else prefixes[request.task],
            )
        )

    def _job(self, request: BenchRequest, prefixes: dict[int, Prefix], began: float) -> Callable[[], Awaitable[Answer]]:
        return lambda: self._answer(request, prefixes, began)

    async def _answer(self, request: BenchRequest, prefixes: dict[int, Prefix], began: float) -> Answer:
        await sleep_until(began + request.start_s)
        sent = time.perf_counter() - began
        tokens: list[int] = []
        times: list[float] = []
        async for event in self.stream(request, prefixes):
            if isinstance(event, TokenEvent):
                tokens.append(event.token_id)
                times.append(time.perf_counter() - began)
            elif isinstance(event, RequestFailed):
                raise event.cause
        return Answer(tuple(tokens), sent, time.perf_counter() - began, tuple(times))
