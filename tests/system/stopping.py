"""A server told to stop under load, and clients that leave in the middle of a stream.

The long form, in minutes: `python -m tests.system.stopping` (100 stops, 1,000 departures).
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.system.live_server import LiveServer, checkpoint, live_server, publish, tiny_base
from tests.system.server_process import ServerProcess

NUM_CLIENTS = 8
TASK = "long"
BODY = {"model": "tiny", "prompt": "the quick brown fox", "temperature": 0, "max_tokens": 40, "ignore_eos": True}


@contextmanager
def serving(base: Path, data_dir: Path, grace_s: float = 30.0) -> Iterator[ServerProcess]:
    """A server process of the tiny base."""
    options = {"base_name": "tiny", "device": "cpu", "threads": 1, "num_kv_blocks": 400, "log_format": "text"}
    log = data_dir / "log"
    with ServerProcess(log, base_model=base, data_dir=data_dir, shutdown_grace_s=grace_s, **options) as server:
        yield server


class Clients:
    """Ask until the server is gone; what came of each request is counted in `outcomes`.

    `whole` answers, requests `refused` with 503 and those `never accepted`, since no byte of an answer came, are as
    they should be while a server stops. `broken` are accepted ones that were dropped.
    """

    def __init__(self, url: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(NUM_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Ask no more, and wait for what was asked."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                outcome = self._one(client, stream=number % 2 == 0)
                with self._lock:
                    self.outcomes[outcome] += 1
                if outcome == "never accepted":
                    time.sleep(0.01)

    @staticmethod
    def _one(client: httpx.Client, *, stream: bool) -> str:
        text = ""
        is_answered = False
        try:
            with client.stream("POST", "/v1/completions", json=BODY | {"stream": stream}) as response:
                is_answered = True
                for part in response.iter_text():
                    text += part
        except httpx.HTTPError:
            return "broken" if is_answered else "never accepted"
        if response.status_code == 503:
            assert response.headers["retry-after"]
            return "refused"
        is_whole = text.endswith("data: [DONE]\n\n") if stream else "usage" in json.loads(text)
        return "whole" if response.status_code == 200 and is_whole and '"error"' not in text else "broken"


def stop_under_load(base: Path, number: int) -> Counter[str]:
    """Start a server, load it, stop it with SIGTERM; so many times. Fails if an accepted request is dropped."""
    total: Counter[str] = Counter()
    for turn in range(number):
        with tempfile.TemporaryDirectory(prefix="softprompt-stop-") as folder:
            with serving(base, Path(folder)) as server:
                clients = Clients(server.url)
                while not clients.outcomes["whole"]:
                    assert server.process.poll() is None, clients.outcomes
                    time.sleep(0.01)
                time.sleep(0.01 * (turn % 20))
                status = server.stop()
                clients.join()
            log = server.log.read_text()
        assert status == 0, log
        assert "Traceback" not in log, log
        assert "cut off" not in log, log
        # An accepted request that got no byte at all would be counted as never accepted, but be "cut off" in the log.
        assert clients.outcomes["broken"] == 0, (turn, clients.outcomes, log)
        assert clients.outcomes["whole"] > 0, (clients.outcomes, log)
        total += clients.outcomes
    return total


def cut_off(base: Path, data_dir: Path) -> tuple[httpx.Response, str]:
    """Stop a server whose grace period is too short for an answer and a stream; what their clients got."""
    body = BODY | {"prompt": [BODY["prompt"]] * 8, "n": 16, "max_tokens": 400}
    with serving(base, data_dir, grace_s=0.5) as server, ThreadPoolExecutor(2) as threads:
        ask = partial(httpx.post, f"{server.url}/v1/completions", timeout=60)
        whole, streamed = (threads.submit(ask, json=body | {"stream": stream}) for stream in (False, True))
        while "softprompt_open_requests 2.0" not in httpx.get(f"{server.url}/metrics").text:
            time.sleep(0.01)
        assert server.stop() == 0
        log = server.log.read_text()
        assert "the grace period is over; 2 requests are cut off" in log
        assert "Traceback" not in log, log
        return whole.result(), streamed.result().text


def leave_mid_stream(server: LiveServer, number: int) -> int:
    """Open streams and close their sockets after the first event; the most steps that blocks were held on after that.

    The steps are those of the engine from the moment at which it is told: leaving is seen by the event loop first.
    """
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps(BODY | {"model": TASK, "stream": True, "max_tokens": 400}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n"
    head += "content-type: application/json"
    engine = server.services.inference.engine
    told = _watch_aborts(engine)
    worst = 0
    for _ in range(number):
        told.clear()
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            while b"data:" not in (received := connection.recv(65536)):
                assert received, "the server closed the connection without an event"
        deadline = time.monotonic() + 30
        while engine.stats.num_running or engine.stats.num_waiting or engine.stats.num_leases:
            assert time.monotonic() < deadline, engine.stats
            time.sleep(0.0005)
        worst = max(worst, engine.stats.num_steps - told[0])
    return worst


def _watch_aborts(engine) -> list[int]:
    """The number of steps at each abort that reaches the engine."""
    told: list[int] = []
    abort = engine.abort

    def noting(request_id, choice=None):
        told.append(engine.stats.num_steps)
        abort(request_id, choice)

    engine.abort = noting
    inner = engine._engine
    inner_abort = inner.abort

    def noting_inner(request_id, choice=None):
        told.append(inner.stats.num_steps)
        inner_abort(request_id, choice)

    inner.abort = noting_inner
    return told


@contextmanager
def leaving_server(base: Path, data_dir: Path) -> Iterator[LiveServer]:
    """A server in this process with a task to stream from."""
    with live_server(base_model=str(base), data_dir=data_dir, device="cpu", threads=1, num_kv_blocks=400) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            publish(client, TASK, checkpoint(1))
        yield server


def main() -> None:
    """Run the long form and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--departures", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="softprompt-stopping-") as folder:
        base = tiny_base(Path(folder) / "base")
        with leaving_server(base, Path(folder) / "data") as server:
            before = server.idle_stats()
            worst = leave_mid_stream(server, given.departures)
            after = server.idle_stats()
            assert after.num_free_blocks >= before.num_free_blocks - after.num_prefix_blocks
            print(f"{given.departures} departures: blocks free after {worst} steps at most; all home", flush=True)
        print(f"{given.stops} stops under load: {dict(stop_under_load(base, given.stops))}")


if __name__ == "__main__":
    main()
