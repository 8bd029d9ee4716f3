"""Answers with a JSON schema beside free text: tokens per second with 32 requests at once, in interleaved pairs.

    python -m benchmarks.structured --rounds 10

Every answer has the same number of tokens: the schema's shortest answer is longer. One server answers both, so a pair
differs in the schema alone. Prints the median of the pairs' ratios, with their quartiles; of the server's processor
time too (all threads, Linux alone), which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.live_server import live_server
from benchmarks.models import DEMO, LLAMA_135M, prepare

_SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "kind": {"enum": ["letter", "parcel", "pallet"]},
            "weight": {"type": "number", "minimum": 0, "maximum": 1000},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
        },
        "required": ["name", "kind", "weight", "tags"],
        "additionalProperties": False,
    },
}


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", default=LLAMA_135M, help=f"{LLAMA_135M}, {DEMO}, or a folder")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    is_folder = "/" in options.base_model
    folder = options.base_model if is_folder else prepare(options.base_model).folder
    with live_server(device="cpu", base_model=folder) as url:
        asyncio.run(_measure(url, options))


async def _measure(url: str, options: argparse.Namespace) -> None:
    limits = httpx.Limits(max_connections=options.requests)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        body = {"model": model, "max_tokens": options.tokens, "temperature": options.temperature, "ignore_eos": True}
        with_form = body | {"structured_outputs": {"json": _SCHEMA}}
        for one in (body, with_form):  # warm
            await _tokens_per_s(client, one, options)
        ratios, costs = [], []
        for number in range(options.rounds):
            order = (body, with_form) if number % 2 else (with_form, body)
            found = {id(one): await _tokens_per_s(client, one, options) for one in order}
            (free, free_cpu_s), (formed, formed_cpu_s) = found[id(body)], found[id(with_form)]
            ratios.append(formed / free)
            costs.append(free_cpu_s / formed_cpu_s)
            print(
                f"free text {free:8.1f} tokens/s, with a schema {formed:8.1f}, ratio {ratios[-1]:.3f}; "
                f"by processor time {costs[-1]:.3f}",
                flush=True,
            )
    for name, numbers in (("median ratio", ratios), ("by processor time", costs)):
        quartiles = statistics.quantiles(numbers, n=4) if len(numbers) > 1 else numbers * 3
        print(f"{name} {statistics.median(numbers):.3f} (quartiles {quartiles[0]:.3f} and {quartiles[2]:.3f})")


def _server_cpu_s() -> float:
    """Processor time of this process's children so far, all threads, in seconds."""
    seconds = 0.0
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


async def _tokens_per_s(
    client: httpx.AsyncClient, body: dict[str, Any], options: argparse.Namespace
) -> tuple[float, float]:
    """Tokens per second, and the server's processor time in seconds."""
    began, cpu_began = time.monotonic(), _server_cpu_s()
    answers = await asyncio.gather(
        *(
            client.post("/v1/completions", json=body | {"prompt": f"Parcel number {number} as JSON: ", "seed": number})
            for number in range(options.requests)
        )
    )
    took_s, cpu_s = time.monotonic() - began, _server_cpu_s() - cpu_began
    num_tokens = sum(answer.raise_for_status().json()["usage"]["completion_tokens"] for answer in answers)
    assert num_tokens == options.requests * options.tokens, num_tokens
    return num_tokens / took_s, cpu_s


if __name__ == "__main__":
    main()
