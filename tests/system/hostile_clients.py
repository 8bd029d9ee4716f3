"""Ten times the load that fits, and hundreds of sockets that stall, against a server process.

The long form, in minutes: `python -m tests.system.hostile_clients`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 90.0
_SERVE = "import sys; from server.cli import main; sys.exit(main())"
_HEADERS = b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass(frozen=True)
class Process:
    """A server process that listens at `port`."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def resident_mib(self) -> float:
        """Memory of the process now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@contextmanager
def serving(*options: str) -> Iterator[Process]:
    """Run `softprompt serve` with the demo model."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _SERVE, "serve", "--port", "0", "--data-dir", folder, *options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SOFTPROMPT_")}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert process.stdout is not None
            printed = ""
            while not (found := re.search(r"ready: http://127\.0\.0\.1:(\d+)", printed)):
                line = process.stdout.readline()
                assert line, "the server did not start"
                printed += line
            yield Process(process.pid, int(found[1]))
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


# --- overload ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of requests: how many of each status, and how long those that were answered with 200 took."""

    statuses: Counter[int]
    latencies_s: tuple[float, ...]
    duration_s: float

    @property
    def p99_s(self) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    @property
    def accepted_per_s(self) -> float:
        return self.statuses[200] / self.duration_s


def completion(number: int, num_tokens: int) -> dict[str, object]:
    """A request of a task, each with another text."""
    text = f"{number} What a wonderful little film about nothing at all."
    return {"model": "sentiment", "prompt": text, "max_tokens": num_tokens, "ignore_eos": True, "temperature": 0}


async def fitting_load(process: Process, num_clients: int, num_requests: int, num_tokens: int) -> Outcome:
    """Clients that each wait for their answer."""
    numbers = iter(range(num_requests))
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:

        async def work() -> None:
            for number in numbers:
                await _ask(client, number, num_tokens, None, statuses, latencies)

        await asyncio.gather(*(work() for _ in range(num_clients)))
    return Outcome(statuses, tuple(latencies), time.monotonic() - began)


async def arriving_load(
    process: Process, per_s: float, duration_s: float, num_tokens: int, timeout_s: float
) -> Outcome:
    """Requests that come at a rate, whatever becomes of those before them. Each is worth `timeout_s` to its caller."""
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=process.url, timeout=60, limits=limits) as client:
        running: list[asyncio.Task[None]] = []
        for number in range(int(per_s * duration_s)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            asking = _ask(client, 1_000_000 + number, num_tokens, timeout_s, statuses, latencies)
            running.append(asyncio.create_task(asking))
        await asyncio.gather(*running)
    return Outcome(statuses, tuple(latencies), time.monotonic() - began)


async def _ask(
    client: httpx.AsyncClient,
    number: int,
    num_tokens: int,
    timeout_s: float | None,
    statuses: Counter[int],
    latencies: list[float],
) -> None:
    headers = {} if timeout_s is None else {"x-request-timeout-ms": str(int(timeout_s * 1000))}
    began = time.monotonic()
    response = await client.post("/v1/completions", json=completion(number, num_tokens), headers=headers)
    statuses[response.status_code] += 1
    if response.status_code == 200:
        latencies.append(time.monotonic() - began)
    elif response.status_code in (429, 503):
        assert "x-should-retry" in response.headers, response.text


# --- stalled sockets --------------------------------------------------------------------------------------------------


def stalled_sockets(process: Process, num_sockets: int) -> list[socket.socket]:
    """A third each: half of the headers, half of a body, and answers asked for that nobody reads."""
    beginnings = (b"GET /health HTTP/1.1\r\nhost: te", _HEADERS % 1_000 + b'{"model": "sen')
    unread = b"GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n" * 40
    found = []
    for number in range(num_sockets):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", process.port))
        client.sendall((*beginnings, unread)[number % 3])
        found.append(client)
    return found


def open_sockets(sockets: list[socket.socket]) -> int:
    """How many the server has not closed."""
    poll = select.poll()
    for client in sockets:
        poll.register(client, select.POLLRDHUP)
    closed = {fd for fd, event in poll.poll(0) if event & (select.POLLHUP | select.POLLERR | select.POLLRDHUP)}
    return len(sockets) - len(closed)


def healthy_p99_s(process: Process, duration_s: float) -> float:
    """One client's p99 of a short request, one after the other."""
    latencies = []
    until = time.monotonic() + duration_s
    with httpx.Client(base_url=process.url, timeout=60) as client:
        number = 0
        while time.monotonic() < until:
            began = time.monotonic()
            response = client.post("/v1/completions", json=completion(number, 8))
            latencies.append(time.monotonic() - began)
            assert response.status_code == 200, response.text
            number += 1
    return sorted(latencies)[int(len(latencies) * 0.99)]


# --- the long forms ---------------------------------------------------------------------------------------------------


def overload(duration_s: float) -> dict[str, object]:
    """Measure what fits, then send ten times as much."""
    with serving("--max-num-seqs", "8") as process:
        asyncio.run(fitting_load(process, 8, 100, 64))
        nominal = asyncio.run(fitting_load(process, 8, 400, 64))
        before_mib = process.resident_mib
        rate = 10 * nominal.accepted_per_s
        outcome = asyncio.run(arriving_load(process, rate, duration_s, 64, 1.5 * nominal.p99_s))
        after = asyncio.run(fitting_load(process, 8, 100, 64))
        return {
            "nominal_per_s": round(nominal.accepted_per_s, 1),
            "nominal_p99_ms": round(nominal.p99_s * 1000),
            "offered_per_s": round(rate, 1),
            "statuses": dict(outcome.statuses),
            "accepted_per_s": round(outcome.accepted_per_s, 1),
            "accepted_p99_ms": round(outcome.p99_s * 1000),
            "p99_ratio": round(outcome.p99_s / nominal.p99_s, 2),
            "afterwards_p99_ms": round(after.p99_s * 1000),
            "memory_growth_mib": round(process.resident_mib - before_mib, 1),
        }


def stalled(num_sockets: int) -> dict[str, object]:
    """Measure a healthy client alone, then beside stalled sockets, until those are closed."""
    with serving() as process:
        healthy_p99_s(process, 3.0)
        alone_s = healthy_p99_s(process, 10.0)
        before_mib = process.resident_mib
        sockets = stalled_sockets(process, num_sockets)
        began = time.monotonic()
        beside_s = healthy_p99_s(process, 10.0)
        while (num_open := open_sockets(sockets)) and time.monotonic() < began + 30:
            time.sleep(0.05)
        closed_s = time.monotonic() - began
        for client in sockets:
            client.close()
        return {
            "sockets": num_sockets,
            "alone_p99_ms": round(alone_s * 1000, 1),
            "beside_p99_ms": round(beside_s * 1000, 1),
            "p99_ratio": round(beside_s / alone_s, 2),
            "all_closed_after_s": round(closed_s, 1),
            "still_open": num_open,
            "memory_growth_mib": round(process.resident_mib - before_mib, 1),
        }


def main() -> None:
    """Run the long forms and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["overload", "stalled"])
    parser.add_argument("--duration-s", type=float, default=60.0)
    parser.add_argument("--sockets", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.only != "stalled":
        print(json.dumps({"overload": overload(arguments.duration_s)}, indent=1), flush=True)
    if arguments.only != "overload":
        print(json.dumps({"stalled": stalled(arguments.sockets)}, indent=1), flush=True)


if __name__ == "__main__":
    main()
