"""How soon does a new version answer? From the acknowledged publish to the new version's first token, over HTTP."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import httpx

from benchmarks.live_server import checkpoint, live_server
from benchmarks.records import Record
from benchmarks.session import Session
from benchmarks.workload import soft_prompt

MEASURE = "publish to first token ms"
_NUM_PUBLISHES = 15
_NUM_VIRTUAL_TOKENS = 16
_PROMPT = list(range(300, 332))


def measure(session: Session) -> Iterator[Record]:
    """Median milliseconds over a few publishes a round, on a server that does nothing else."""
    model = session.model
    settings: dict[str, Any] = {"threads": session.threads, "kv_cache_gib": 0.5}
    if model.name != "demo":
        settings |= {"base_model": model.folder, "base_name": model.name}
    with live_server(**settings) as address:
        asyncio.run(_publish_and_ask(session, address, 0))  # the first one warms up
        for number in session.rounds():
            times = [
                asyncio.run(_publish_and_ask(session, address, 1 + number * _NUM_PUBLISHES + each))
                for each in range(_NUM_PUBLISHES)
            ]
            slowest = round(max(times) * 1e3, 1)
            yield session.record(MEASURE, "http", number, statistics.median(times) * 1e3, slowest=slowest)


async def _publish_and_ask(session: Session, address: str, number: int) -> float:
    """Seconds from the answer to a publish to the first streamed token of a request for the bare task name."""
    model = session.model
    matrix = soft_prompt(1_000 + number, _NUM_VIRTUAL_TOKENS, model.hidden_size, model.embedding_std)
    body = {"model": "fresh", "prompt": _PROMPT, "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    body |= {"stream": True, "return_token_ids": True}
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        files = checkpoint(matrix)
        published = await client.post("/v1/tasks/fresh/versions", files=files, data={"promote": "true"})
        acknowledged = time.perf_counter()
        published.raise_for_status()
        async with client.stream("POST", "/v1/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"][0].get("token_ids"):
                    seconds = time.perf_counter() - acknowledged
                    break
        answered_by = int(response.headers["x-softprompt-version"])
    if answered_by != number + 1:
        raise RuntimeError(f"version {number + 1} was published, and {answered_by} answered")
    return seconds
