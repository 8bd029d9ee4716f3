"""Ten times the load that fits, and hundreds of sockets that stall, against a server process.

The long form, in minutes: `python -m tests.system.hostile_clients`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import select
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import httpx

from tests.system.server_process import ServerProcess

WINDOW_S = 6.0  # so that no stalled socket is closed before its end: the first are after ten seconds
SETTLE_S = 1.0
_HEADERS = (
    b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


@contextmanager
def serving(**options: object) -> Iterator[ServerProcess]:
    """A server of the demo model with a store of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "server.log", data_dir=folder, **options) as process,
    ):
        yield process


# --- overload ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of requests: how many of each status, and how long those that were answered with 200 took.

    `num_timely` of these came within `duration_s`, the time in which there was a load.
    """

    statuses: Counter[int]
    latencies_s: tuple[float, ...]
    num_timely: int
    duration_s: float

    @property
    def p99_s(self) -> float:
        return p99(self.latencies_s)

    @property
    def accepted_per_s(self) -> float:
        return self.num_timely / self.duration_s


def completion(number: int, num_tokens: int) -> dict[str, object]:
    """A request of a task, each with another text."""
    text = f"{number} What a wonderful little film about nothing at all."
    return {"model": "sentiment", "prompt": text, "max_tokens": num_tokens, "ignore_eos": True, "temperature": 0}


async def fitting_load(process: ServerProcess, num_clients: int, num_requests: int, num_tokens: int) -> Outcome:
    """Clients that each wait for their answer."""
    numbers = iter(range(num_requests))
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:

        async def work() -> None:
            for number in numbers:
                began = time.monotonic()
                response = await client.post("/v1/completions", json=completion(number, num_tokens))
                statuses[response.status_code] += 1
                if response.status_code == 200:
                    latencies.append(time.monotonic() - began)

        await asyncio.gather(*(work() for _ in range(num_clients)))
    return Outcome(statuses, tuple(latencies), statuses[200], time.monotonic() - began)


async def arriving_load(
    process: ServerProcess, per_s: float, duration_s: float, num_tokens: int, timeout_s: float
) -> Outcome:
    """Requests that come at a rate, whatever becomes of those before them. Each is worth `timeout_s` to its caller.

    Straight over sockets: a client that is slower than its rate would measure itself.
    """
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(per_s * duration_s)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            group.create_task(_arrive(process, 1_000_000 + number, num_tokens, timeout_s, statuses, latencies))
        num_timely, arriving_s = statuses[200], time.monotonic() - began
    return Outcome(statuses, tuple(latencies), num_timely, arriving_s)


async def _arrive(
    process: ServerProcess,
    number: int,
    num_tokens: int,
    timeout_s: float,
    statuses: Counter[int],
    latencies: list[float],
) -> None:
    address = urlsplit(process.url)
    body = json.dumps(completion(number, num_tokens)).encode()
    own = b"connection: close\r\nx-request-timeout-ms: %d\r\n\r\n" % (timeout_s * 1000)
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(_HEADERS.removesuffix(b"\r\n") % len(body) + own + body)
    answer = await reader.read()
    writer.close()
    status = int(answer.split(b" ", 2)[1])
    statuses[status] += 1
    if status == 200:
        latencies.append(time.monotonic() - began)
    else:
        assert b"x-should-retry" in answer, answer


# --- stalled sockets --------------------------------------------------------------------------------------------------


def stalled_sockets(process: ServerProcess, num_sockets: int) -> list[socket.socket]:
    """A third each: half of the headers, half of a body, and answers asked for that nobody reads."""
    beginnings = (b"GET /health HTTP/1.1\r\nhost: te", _HEADERS % 1_000 + b'{"model": "sen')
    unread = b"GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n" * 40
    address = urlsplit(process.url)
    found = []
    for number in range(num_sockets):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.hostname, address.port))
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


def healthy_latencies_s(process: ServerProcess, goes_on: Callable[[], bool]) -> list[float]:
    """How long each short request of one client took, one after the other, while `goes_on`."""
    latencies: list[float] = []
    with httpx.Client(base_url=process.url, timeout=60) as client:
        while goes_on():
            began = time.monotonic()
            response = client.post("/v1/completions", json=completion(len(latencies), 8))
            latencies.append(time.monotonic() - began)
            assert response.status_code == 200, response.text
    return latencies


def lasts(duration_s: float) -> Callable[[], bool]:
    """True for so long from now."""
    until = time.monotonic() + duration_s
    return lambda: time.monotonic() < until


def p99(latencies_s: Sequence[float]) -> float:
    """The value that one in a hundred exceeds."""
    return sorted(latencies_s)[min(len(latencies_s) - 1, int(len(latencies_s) * 0.99))]


# --- the long forms ---------------------------------------------------------------------------------------------------


async def fitting_beside_refusals(process: ServerProcess, rate: float, num_requests: int, num_tokens: int) -> Outcome:
    """What fits while the server refuses `rate` requests per second: none of them is worth more than a millisecond."""
    fitting = asyncio.create_task(fitting_load(process, 8, num_requests, num_tokens))
    while not fitting.done():
        await arriving_load(process, rate, 1.0, num_tokens, 0.001)
    return fitting.result()


def generated_tokens(process: ServerProcess) -> int:
    """Tokens of all requests that have ended, given up ones too."""
    samples = httpx.get(f"{process.url}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in samples if line.startswith("softprompt_generated_tokens_total"))


def overload(duration_s: float) -> dict[str, object]:
    """Measure what fits, alone and beside refusals, then send ten times as much.

    `share_of_nominal` is what the flood costs in all. `share_beside_refusals` leaves out what refusals cost, and
    `share_of_tokens` the machine too: of the tokens that the server generated, those of answers that came in time.
    """
    with serving(max_num_seqs=8, num_kv_blocks=400) as process:  # a cache that is soon full, not memory that grows
        asyncio.run(fitting_load(process, 8, 100, 64))
        nominal = asyncio.run(fitting_load(process, 8, 400, 64))
        before_mib = process.resident_mib
        rate = 10 * nominal.accepted_per_s
        beside = asyncio.run(fitting_beside_refusals(process, rate, 200, 64))
        num_before = generated_tokens(process)
        outcome = asyncio.run(arriving_load(process, rate, duration_s, 64, 1.5 * nominal.p99_s))
        num_generated = generated_tokens(process) - num_before
        after = asyncio.run(fitting_load(process, 8, 100, 64))
        return {
            "nominal_per_s": round(nominal.accepted_per_s, 1),
            "nominal_p99_ms": round(nominal.p99_s * 1000),
            "beside_refusals_per_s": round(beside.accepted_per_s, 1),
            "offered_per_s": round(rate, 1),
            "statuses": dict(outcome.statuses),
            "accepted_per_s": round(outcome.accepted_per_s, 1),
            "share_of_nominal": round(outcome.accepted_per_s / nominal.accepted_per_s, 2),
            "share_beside_refusals": round(outcome.accepted_per_s / beside.accepted_per_s, 2),
            "share_of_tokens": round(outcome.statuses[200] * 64 / num_generated, 2),
            "accepted_p99_ms": round(outcome.p99_s * 1000),
            "p99_ratio": round(outcome.p99_s / nominal.p99_s, 2),
            "afterwards_p99_ms": round(after.p99_s * 1000),
            "memory_growth_mib": round(process.resident_mib - before_mib, 1),
        }


@dataclass
class StallFigures:
    """Latencies of a healthy client by what the stalled sockets did meanwhile; when the last of them was closed."""

    alone_s: list[float] = field(default_factory=list)
    burst_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)
    closing_s: list[float] = field(default_factory=list)
    closed_after_s: float = 0.0
    num_left_open: int = 0


def stall_round(process: ServerProcess, num_sockets: int, figures: StallFigures) -> None:
    """One time each: nobody, sockets that connect, that have stalled, and that are closed."""
    figures.alone_s += healthy_latencies_s(process, lasts(WINDOW_S))
    began = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        connecting = other.submit(stalled_sockets, process, num_sockets)
        figures.burst_s += healthy_latencies_s(process, lambda: not connecting.done())
    sockets = connecting.result()
    figures.burst_s += healthy_latencies_s(process, lasts(SETTLE_S))
    figures.beside_s += healthy_latencies_s(process, lasts(WINDOW_S))
    assert open_sockets(sockets) == num_sockets, "they were to stall all the time"
    goes_on = lasts(30)
    figures.closing_s += healthy_latencies_s(process, lambda: goes_on() and open_sockets(sockets) > 0)
    figures.closed_after_s = max(figures.closed_after_s, time.monotonic() - began)
    figures.num_left_open += open_sockets(sockets)
    for client in sockets:
        client.close()


def stalled(num_sockets: int, num_rounds: int) -> dict[str, object]:
    """Measure a healthy client alone and beside stalled sockets, in turns."""
    figures = StallFigures()
    with serving() as process:
        healthy_latencies_s(process, lasts(3.0))
        before_mib = process.resident_mib
        for _ in range(num_rounds):
            stall_round(process, num_sockets, figures)
        growth_mib = process.resident_mib - before_mib
    alone_s, beside_s = p99(figures.alone_s), p99(figures.beside_s)
    return {
        "sockets": num_sockets,
        "rounds": num_rounds,
        "requests_alone_and_beside": (len(figures.alone_s), len(figures.beside_s)),
        "alone_p99_ms": round(alone_s * 1000, 1),
        "beside_p99_ms": round(beside_s * 1000, 1),
        "p99_ratio": round(beside_s / alone_s, 2),
        "median_ratio": round(median(figures.beside_s) / median(figures.alone_s), 2),
        "burst_p99_ms": round(p99(figures.burst_s) * 1000, 1),
        "closing_p99_ms": round(p99(figures.closing_s) * 1000, 1),
        "all_closed_after_s": round(figures.closed_after_s, 1),
        "still_open": figures.num_left_open,
        "memory_growth_mib": round(growth_mib, 1),
    }


def main() -> None:
    """Run the long forms and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["overload", "stalled"])
    parser.add_argument("--duration-s", type=float, default=60.0)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="of stalled sockets")
    arguments = parser.parse_args()
    if arguments.only != "stalled":
        print(json.dumps({"overload": overload(arguments.duration_s)}, indent=1), flush=True)
    if arguments.only != "overload":
        print(json.dumps({"stalled": stalled(arguments.sockets, arguments.rounds)}, indent=1), flush=True)


if __name__ == "__main__":
    main()
