"""A batch beside kills and beside live traffic: `python -m tests.system.batches` (`make batch-test`), minutes.

1. A batch of 2,000 lines whose server is killed (SIGKILL) three times: each line is answered once, and no line is asked
   again whose answer was kept.
2. Live streams beside a batch, in alternating windows without and with it: first tokens, times between tokens, and the
   lines that the batch gets done, at the default share and at share 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.system.server_process import ServerProcess

_PATH = "/v1/completions"
_TIMEOUT_S = 600.0
_ENDS = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class Kills:
    """What became of a batch whose server was killed again and again."""

    num_lines: int
    kept_at_kills: tuple[int, ...]
    asked_last: int
    status: str
    ids: tuple[str, ...]

    def check(self) -> None:
        """Assert that each line was answered once, and none was asked again whose answer was kept."""
        assert self.status == "completed", self.status
        assert list(self.ids) == [f"line-{number}" for number in range(self.num_lines)], "lost, repeated or moved"
        assert self.asked_last == self.num_lines - self.kept_at_kills[-1], (self.asked_last, self.kept_at_kills)
        assert list(self.kept_at_kills) == sorted(self.kept_at_kills)


def killed(folder: Path, num_lines: int, num_kills: int) -> Kills:
    """Run a batch of short answers, and kill the server at equal parts of it."""
    options = {"data_dir": folder, "threads": 1, "tuning_takeover_s": 1.1}
    batch_id, kept = "", []
    for life in range(num_kills + 1):
        with ServerProcess(folder / f"{life}.log", **options) as server, _client(server) as client:
            if not batch_id:
                batch_id = begin(client, num_lines, max_tokens=8)
            else:
                kept.append(_num_done(client, batch_id))
            if life == num_kills:
                batch = _until(client, batch_id, num_lines + 1)
                return Kills(
                    num_lines,
                    tuple(kept),
                    _total(client, "softprompt_batch_lines"),
                    batch["status"],
                    _ids(client, batch),
                )
            _until(client, batch_id, (life + 1) * num_lines // (num_kills + 1))
            server.kill()
    raise AssertionError("no life is the last one")


def begin(client: httpx.Client, num_lines: int, max_tokens: int) -> str:
    """Upload and create a batch; its id."""
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": _PATH,
            "body": {
                "model": ("sentiment", "intent", "route")[number % 3],
                "prompt": f"The film number {number} was what I had hoped for.",
                "max_tokens": max_tokens,
                "ignore_eos": True,
            },
        }
        for number in range(num_lines)
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.post("/v1/files", files={"file": ("in.jsonl", data)}, data={"purpose": "batch"}).json()
    body = {"input_file_id": file["id"], "endpoint": _PATH, "completion_window": "24h"}
    return str(client.post("/v1/batches", json=body).json()["id"])


@contextmanager
def _client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=_TIMEOUT_S) as client:
        yield client


def _read(client: httpx.Client, batch_id: str) -> dict[str, Any]:
    body: dict[str, Any] = client.get(f"/v1/batches/{batch_id}").json()
    return body


def _num_done(client: httpx.Client, batch_id: str) -> int:
    counts = _read(client, batch_id)["request_counts"]
    return int(counts["completed"] + counts["failed"])


def _until(client: httpx.Client, batch_id: str, num_done: int) -> dict[str, Any]:
    """Wait until this many lines are done, or the batch has ended."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        body = _read(client, batch_id)
        counts = body["request_counts"]
        if counts["completed"] + counts["failed"] >= num_done or body["status"] in _ENDS:
            return body
        time.sleep(0.02)
    raise AssertionError(f"{batch_id} did not get there: {body}")


def _total(client: httpx.Client, counter: str) -> int:
    """A counter of this process, over all of its labels."""
    lines = client.get("/metrics").text.splitlines()
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{counter}_total")))


def _ids(client: httpx.Client, batch: dict[str, Any]) -> tuple[str, ...]:
    assert batch["error_file_id"] is None, client.get(f"/v1/files/{batch['error_file_id']}/content").text[:500]
    lines = client.get(f"/v1/files/{batch['output_file_id']}/content").text.splitlines()
    return tuple(json.loads(line)["custom_id"] for line in lines)


# --- beside live traffic ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Times:
    """Times of live streams, in seconds: to the first token, and between tokens."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Beside:
    """Live streams without and with a batch.

    `num_steps` and `num_batch_steps` are the engine's, within the windows with a batch, while streams were open.
    """

    share: float
    alone: Times
    together: Times
    num_steps: int
    num_batch_steps: int
    full_step_s: float

    def report(self) -> str:
        """The figures on some lines."""
        alone, together = self.alone, self.together
        between = statistics.mean(together.between) / statistics.mean(alone.between)
        return (
            f"share {self.share}: first token p95 {_p95(alone.first) * 1e3:.1f} -> {_p95(together.first) * 1e3:.1f} ms "
            f"(p50 {statistics.median(alone.first) * 1e3:.1f} -> {statistics.median(together.first) * 1e3:.1f}; a full "
            f"step takes {self.full_step_s * 1e3:.1f} ms)\n"
            f"  between tokens: mean {statistics.mean(alone.between) * 1e3:.2f} -> "
            f"{statistics.mean(together.between) * 1e3:.2f} ms, x {between:.3f} (the share allows x "
            f"{1 / (1 - self.share):.3f})\n"
            f"  {self.num_batch_steps} of {self.num_steps} steps were the batch's, beside {len(together.first)} streams"
        )


def beside(folder: Path, share: float, num_windows: int, window_s: float) -> Beside:
    """Alternate windows of live traffic without and with a batch, on one server."""
    options = {"data_dir": folder, "threads": 1, "batch_share": share}
    alone, together = Times(), Times()
    num_steps, num_batch_steps = 0, 0
    with ServerProcess(folder / "server.log", **options) as server, _client(server) as client:
        full_step_s = _full_step(client)
        _live(server.url, Times(), 2.0)  # warm
        for _ in range(num_windows):
            _live(server.url, alone, window_s)
            batch_id = begin(client, 2_000, max_tokens=64)
            _until(client, batch_id, 1)
            live = threading.Thread(target=_live, args=(server.url, together, window_s))
            live.start()
            time.sleep(1.0)
            before = _total(client, "softprompt_steps"), _total(client, "softprompt_batch_steps")
            time.sleep(window_s - 1.5)
            num_steps += _total(client, "softprompt_steps") - before[0]
            num_batch_steps += _total(client, "softprompt_batch_steps") - before[1]
            live.join()
            client.post(f"/v1/batches/{batch_id}/cancel")
            _until(client, batch_id, 10**9)
    return Beside(share, alone, together, num_steps, num_batch_steps, full_step_s)


def _full_step(client: httpx.Client) -> float:
    """Seconds of a prompt that fills a step, with its one token: the median of five."""
    times = []
    for number in range(5):
        words = f"{number} " + "word " * 400
        ids = client.post("/tokenize", json={"model": "softprompt-demo", "prompt": words}).json()["tokens"][:500]
        began = time.monotonic()
        body = {"model": "softprompt-demo", "prompt": ids, "max_tokens": 1}
        assert client.post(_PATH, json=body).status_code == 200
        times.append(time.monotonic() - began)
    return statistics.median(times)


def _live(url: str, times: Times, window_s: float, num_clients: int = 4) -> None:
    """Stream from some clients one request after another; their streams overlap, so one is always open."""
    end = time.monotonic() + window_s
    lock = threading.Lock()
    threads = [threading.Thread(target=_stream, args=(url, times, lock, end, number)) for number in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stream(url: str, times: Times, lock: threading.Lock, end: float, client_number: int) -> None:
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:
        number = 0
        time.sleep(0.05 * client_number)
        while time.monotonic() < end:
            number += 1
            body = {
                "model": "sentiment",
                "prompt": f"Client {client_number} liked film {number} more than the last one.",
                "max_tokens": 48,
                "ignore_eos": True,
                "stream": True,
            }
            arrivals = [time.monotonic()]
            with client.stream("POST", _PATH, json=body) as response:
                arrivals += [time.monotonic() for line in response.iter_lines() if line.startswith("data: {")]
            with lock:
                times.first.append(arrivals[1] - arrivals[0])
                times.between.append((arrivals[-1] - arrivals[1]) / (len(arrivals) - 2))


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def main() -> None:
    """Print what was found, and fail where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=3, help="0: only the live traffic")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--window-s", type=float, default=8.0)
    arguments = parser.parse_args()
    if arguments.kills:
        _report_kills(arguments.lines, arguments.kills)
    for share in (0.1, 0.0):
        with tempfile.TemporaryDirectory() as folder:
            print(beside(Path(folder), share, arguments.windows, arguments.window_s).report(), flush=True)


def _report_kills(num_lines: int, num_kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = killed(Path(folder), num_lines, num_kills)
    print(f"{num_kills} kills with {found.kept_at_kills} of {found.num_lines} lines kept; the last server asked "
          f"{found.asked_last}: {found.status}", flush=True)  # fmt: skip
    found.check()


if __name__ == "__main__":
    main()
