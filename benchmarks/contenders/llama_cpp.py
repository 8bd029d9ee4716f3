"""(g) llama.cpp over HTTP (`make bench-peers`): plain tokens, its best case, since it has no soft prompts.

Runs in a venv of its own, with a prebuilt wheel of llama.cpp. Settings: `weights`, a type of `benchmarks.gguf_file`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from benchmarks import gguf_file
from benchmarks.clients import in_turn, sleep_until
from benchmarks.contender import Answer, Run, Setup
from benchmarks.workload import BenchRequest, Workload

_MAX_REQUEST = 512  # tokens of a request and its answer, as of the other contenders


class LlamaCppContender:
    """llama.cpp's own server in this process, one streaming client a request."""

    def __init__(self, setup: Setup) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(gguf_file.path_of(setup.model, setup.settings["weights"]))
        params.n_parallel = setup.max_num_seqs
        params.n_ctx = setup.max_num_seqs * _MAX_REQUEST
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = setup.threads
        params.port = 0
        self._server = xllamacpp.Server(params)

    def run(self, workload: Workload) -> Run:
        """See `Contender`. The soft prompts are left out: the base model is asked."""
        return asyncio.run(self._send(workload))

    def close(self) -> None:
        """See `Contender`."""
        del self._server

    async def _send(self, workload: Workload) -> Run:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # it closes one after some answers
        async with httpx.AsyncClient(base_url=self._server.listening_address, timeout=600, limits=limits) as client:
            began = time.perf_counter()
            jobs = [self._job(client, request, began) for request in workload.requests]
            answers = await in_turn(jobs, workload.num_clients)
            return Run(time.perf_counter() - began, tuple(answers))

    def _job(self, client: httpx.AsyncClient, request: BenchRequest, began: float) -> Callable[[], Awaitable[Answer]]:
        return lambda: _answer(client, request, began)


async def _answer(client: httpx.AsyncClient, request: BenchRequest, began: float) -> Answer:
    await sleep_until(began + request.start_s)
    body: dict[str, Any] = {
        "prompt": list(request.prompt),
        "n_predict": request.num_output,
        "temperature": 0,
        "ignore_eos": True,
        "return_tokens": True,
        "stream": True,
    }
    sent = time.perf_counter() - began
    tokens: list[int] = []
    times: list[float] = []
    async with client.stream("POST", "/completion", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                piece = json.loads(line.removeprefix("data: "))["tokens"]
                tokens += piece
                times += [time.perf_counter() - began] * len(piece)
    return Answer(tuple(tokens), sent, time.perf_counter() - began, tuple(times))
