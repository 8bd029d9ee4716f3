"""Clients of one address that ask for a task whose versions change, and hold every answer against its version's own."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.system.live_server import HIDDEN_SIZE, checkpoint, publish

TASK = "swapped"
ALIAS = f"/v1/tasks/{TASK}/aliases/production"
REQUEST = {"model": TASK, "prompt": "the quick brown fox"}
MANIFEST = {"defaults": {"temperature": 0, "max_tokens": 12, "ignore_eos": True}}
NUM_VERSIONS = 4
NUM_CLIENTS = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and what came of it: `failure` is None for the right answer. Times are monotonic, in seconds."""

    began_at: float
    ended_at: float
    failure: str | None


class Address:
    """Where the clients ask servers of the tiny base model.

    Construction publishes the versions, and learns the answer of each by its digest.
    """

    def __init__(self, url: str, hidden_size: int = HIDDEN_SIZE, first_seed: int = 0) -> None:
        self.url = url
        self._answers = {}
        with httpx.Client(base_url=url, timeout=60) as client:
            for seed in range(first_seed, first_seed + NUM_VERSIONS):
                version = publish(client, TASK, checkpoint(seed, 4, hidden_size), manifest=MANIFEST)
                alone = client.post("/v1/completions", json=REQUEST | {"model": f"{TASK}@{version['version']}"})
                self._answers[version["digest"]] = alone.json()["choices"][0]["text"]
        assert len(set(self._answers.values())) == NUM_VERSIONS, "the versions were meant to answer differently"

    @contextmanager
    def clients(self) -> Iterator[list[Asked]]:
        """Ask while the block runs, every other client for streams; the list is filled at its end."""
        stop, asked = threading.Event(), []
        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            asking = [pool.submit(self._ask, number % 2 == 0, stop) for number in range(NUM_CLIENTS)]
            try:
                time.sleep(0.3)
                yield asked
                time.sleep(0.3)
            finally:
                stop.set()
                for one in asking:
                    asked += one.result()

    def swap(self, number: int, pause_s: float) -> list[Asked]:
        """Move the alias so many times under load: no request fails, each answer is that of the version it names."""
        with httpx.Client(base_url=self.url, timeout=60) as client, self.clients() as asked:
            for turn in range(number):
                etag = client.get(ALIAS).headers["etag"]
                move = {"version": turn % NUM_VERSIONS + 1}
                response = client.put(ALIAS, json=move, headers={"if-match": etag})
                assert response.status_code == 200, response.text
                time.sleep(pause_s)
        assert not failures(asked), failures(asked)[:3]
        return asked

    def _ask(self, is_stream: bool, stop: threading.Event) -> list[Asked]:
        asked = []
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not stop.is_set():
                began_at = time.monotonic()
                failure = self._failure(client, is_stream)
                asked.append(Asked(began_at, time.monotonic(), failure))
        return asked

    def _failure(self, client: httpx.Client, is_stream: bool) -> str | None:
        """Ask once: None for the whole answer of the version that its header names."""
        try:
            with client.stream("POST", "/v1/completions", json=REQUEST | {"stream": is_stream}) as response:
                text = response.read().decode()
        except httpx.HTTPError as error:
            return repr(error)
        if response.status_code != 200 or (is_stream and not text.endswith("data: [DONE]\n\n")):
            return f"{response.status_code}: {text[-300:]}"
        bodies = [text]
        if is_stream:
            bodies = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
        answer = "".join(json.loads(body)["choices"][0]["text"] for body in bodies)
        expected = self._answers.get(response.headers["x-softprompt-digest"])
        return None if answer == expected else f"{answer!r} is not {expected!r}"


def failures(asked: Sequence[Asked]) -> list[Asked]:
    """Those without the right answer."""
    return [one for one in asked if one.failure is not None]


def longest_gap_s(asked: Sequence[Asked], since: float) -> float:
    """The longest time between two right answers from `since` on."""
    right = sorted(one.ended_at for one in asked if one.failure is None and one.ended_at >= since)
    return max(after - before for before, after in itertools.pairwise([since, *right]))
