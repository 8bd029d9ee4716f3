"""Three server processes on one PostgreSQL, and clients that hold every answer against the history of an alias.

The long form, in minutes: `python -m tests.system.replicas` (1,000 moves, then the database away for 60 s).
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from prompts_store import maintenance
from tests.prompts_store import postgres
from tests.system.live_server import checkpoint, publish, tiny_base
from tests.system.server_process import ServerProcess

NUM_REPLICAS = 3
NUM_VERSIONS = 8
TASK = "moved"
ALIAS = f"/v1/tasks/{TASK}/aliases/production"
REQUEST = {"model": TASK, "prompt": "the quick brown fox"}
MANIFEST = {"defaults": {"temperature": 0, "max_tokens": 2, "ignore_eos": True}}
MAX_STALE_S = 1.0
PAUSE_S = 0.02


@dataclass(frozen=True)
class Answer:
    """An answered request. Times are monotonic, in seconds."""

    began_at: float
    ended_at: float
    digest: str


@dataclass(frozen=True)
class Move:
    """An accepted move of the alias: sent, and answered."""

    sent_at: float
    done_at: float
    digest: str


@dataclass(frozen=True)
class Watched:
    """What the clients saw."""

    answers: Sequence[Answer]
    failures: Sequence[str]

    def check(self, moves: Sequence[Move]) -> None:
        """No request failed; none was answered by what had been replaced a second before it began."""
        assert not self.failures, self.failures[:3]
        assert self.answers
        ends = [move.done_at + MAX_STALE_S for move in moves[1:]] + [float("inf")]
        for answer in self.answers:
            current = {
                move.digest
                for move, end in zip(moves, ends, strict=True)
                if move.sent_at <= answer.ended_at and answer.began_at <= end
            }
            assert answer.digest in current, "an answer is neither the old nor the new one"


class Replicas:
    """Servers by their URLs, on one database."""

    def __init__(self, urls: Sequence[str], cluster: postgres.Cluster) -> None:
        self.urls = urls
        self.cluster = cluster
        with httpx.Client(base_url=urls[0], timeout=60) as client:
            published = [
                publish(client, TASK, checkpoint(seed, num_virtual_tokens=4), manifest=MANIFEST)
                for seed in range(NUM_VERSIONS)
            ]
        self.digests = {one["version"]: one["digest"] for one in published}

    @contextmanager
    def clients(self) -> Iterator[list[Watched]]:
        """Ask every replica in turn while the block runs; the list has what was seen once it has ended."""
        stop, seen = threading.Event(), []
        with ThreadPoolExecutor(len(self.urls)) as pool:
            asking = [pool.submit(_ask, url, stop) for url in self.urls]
            try:
                yield seen
            finally:
                stop.set()
                each = [one.result() for one in asking]
                answers = [answer for one in each for answer in one.answers]
                seen.append(Watched(answers, [failure for one in each for failure in one.failures]))

    def move(self, number: int, pause_s: float) -> list[Move]:
        """Move the alias so many times, each time through the next replica; the first entry is where it was."""
        with ExitStack() as stack:
            clients = [stack.enter_context(httpx.Client(base_url=url, timeout=60)) for url in self.urls]
            moves = [Move(0.0, 0.0, self.digests[clients[0].get(ALIAS).json()["version"]])]
            for turn in range(number):
                version = turn % NUM_VERSIONS + 1
                client = clients[turn % len(clients)]
                etag = client.get(ALIAS).headers["etag"]
                sent_at = time.monotonic()
                response = client.put(ALIAS, json={"version": version}, headers={"if-match": etag})
                assert response.status_code == 200, response.text
                moves.append(Move(sent_at, time.monotonic(), self.digests[version]))
                own = client.post("/v1/completions", json=REQUEST)
                assert own.headers["x-softprompt-version"] == str(version), "one's own move counts at once"
                time.sleep(pause_s)
            return moves

    def ready(self) -> list[dict[str, object]]:
        """What each replica says about itself."""
        return [httpx.get(f"{url}/ready", timeout=60).json() for url in self.urls]


def _ask(url: str, stop: threading.Event) -> Watched:
    answers, failures = [], []
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            began_at = time.monotonic()
            try:
                response = client.post("/v1/completions", json=REQUEST)
            except httpx.HTTPError as error:
                failures.append(repr(error))
                continue
            if response.status_code != 200:
                failures.append(response.text)
                continue
            answers.append(Answer(began_at, time.monotonic(), response.headers["x-softprompt-digest"]))
            time.sleep(PAUSE_S)
    return Watched(answers, failures)


@contextmanager
def replicas() -> Iterator[Replicas]:
    """Start a private PostgreSQL and the servers. Raises NoPostgres."""
    with ExitStack() as stack:
        cluster = stack.enter_context(postgres.private_cluster())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="softprompt-replicas-")))
        maintenance.upgrade(cluster.url())
        base = tiny_base(folder / "base")
        servers = [
            stack.enter_context(
                ServerProcess(
                    folder / f"server-{number}.log", base_model=base, data_dir=folder / f"data-{number}",
                    database_url=cluster.url(), device="cpu", threads=1, num_kv_blocks=200, shutdown_grace_s=2,
                )
            )
            for number in range(NUM_REPLICAS)
        ]  # fmt: skip
        yield Replicas([server.url for server in servers], cluster)


def watch_moves(fleet: Replicas, number: int, pause_s: float) -> Watched:
    """Move the alias under load and check every answer."""
    with fleet.clients() as seen:
        time.sleep(0.2)
        moves = fleet.move(number, pause_s)
        time.sleep(MAX_STALE_S + 0.5)
    seen[0].check(moves)
    assert seen[0].answers[-1].digest == moves[-1].digest
    return seen[0]


def watch_outage(fleet: Replicas, seconds: float) -> Watched:
    """Take the database away under load: known tasks answer, unknown ones get 503, and it needs no restart after."""
    for url in fleet.urls:  # so that every server knows the task
        assert httpx.post(f"{url}/v1/completions", json=REQUEST, timeout=60).status_code == 200
    with fleet.clients() as seen:
        fleet.cluster.stop()
        deadline = time.monotonic() + seconds
        time.sleep(min(1.5, seconds / 2))
        for url, ready in zip(fleet.urls, fleet.ready(), strict=True):
            assert (ready["status"], ready["store"]) == ("ready", "unreachable")
            unknown = httpx.post(f"{url}/v1/completions", json=REQUEST | {"model": "unknown"}, timeout=60)
            assert unknown.status_code == 503, unknown.text
        time.sleep(max(0.0, deadline - time.monotonic()))
        fleet.cluster.start()
        back_by = time.monotonic() + 20
        while any(ready["store"] != "reachable" for ready in fleet.ready()):
            assert time.monotonic() < back_by, "a replica did not come back"
            time.sleep(0.1)
    assert not seen[0].failures, seen[0].failures[:3]
    assert len({answer.digest for answer in seen[0].answers}) == 1
    return seen[0]


def main() -> None:
    """Run the long form and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=1_000)
    parser.add_argument("--pause-s", type=float, default=0.25)
    parser.add_argument("--outage-s", type=float, default=60.0)
    given = parser.parse_args()
    with replicas() as fleet:
        moved = watch_moves(fleet, given.moves, given.pause_s)
        print(
            f"{given.moves} moves, {len(moved.answers)} answers, none older than {MAX_STALE_S} s, no error", flush=True
        )
        away = watch_outage(fleet, given.outage_s)
        print(f"database away for {given.outage_s} s: {len(away.answers)} answers, no error")
        again = watch_moves(fleet, 30, given.pause_s)
        print(f"30 moves after it: {len(again.answers)} answers, no error")


if __name__ == "__main__":
    main()
