"""Alias moves under load on one server, the long form: `python -m tests.system.live_swaps [--moves 1000]`.

Four callers ask for a task while its `production` goes round three versions. Each answer must be that of the version
that its header names, and no request may fail.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.devices import NAME
from tests.system.live_server import LiveServer, checkpoint, live_server, publish, tiny_base

PROMPT = "the quick brown fox"
MANIFEST = {"defaults": {"temperature": 0, "max_tokens": 6, "ignore_eos": True}}
NUM_CALLERS = 4


@contextmanager
def swap_server(folder: Path) -> Iterator[LiveServer]:
    """A server of a tiny base model, with its files in `folder`."""
    base = tiny_base(folder / "base")
    with live_server(base_model=str(base), data_dir=folder / "data", num_kv_blocks=400, device=NAME) as server:
        yield server


def complete(client: httpx.Client, model: str, **changes) -> httpx.Response:
    """Ask, and check that it was answered."""
    response = client.post("/v1/completions", json={"model": model, "prompt": PROMPT, **changes})
    assert response.status_code == 200, response.text
    return response


def set_production(client: httpx.Client, task: str, version: int) -> None:
    """Move `production` by compare-and-swap."""
    url = f"/v1/tasks/{task}/aliases/production"
    etag = client.get(url).headers["etag"]
    response = client.put(url, json={"version": version}, headers={"if-match": etag})
    assert response.status_code == 200, response.text


def swap_under_load(server: LiveServer, client: httpx.Client, num_moves: int) -> int:
    """Move the alias, check every answer, and return how many there were."""
    answers = _publish_versions(client)
    stop, failures, seen = threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            while not stop.is_set():
                response = own.post("/v1/completions", json={"model": "swapped", "prompt": PROMPT})
                digest = response.headers.get("x-softprompt-digest")
                if response.status_code != 200 or response.json()["choices"][0]["text"] != answers[digest]:
                    failures.append(response.text)
                seen.append(digest)

    callers = [threading.Thread(target=ask) for _ in range(NUM_CALLERS)]
    for caller in callers:
        caller.start()
    try:
        for index in range(num_moves):
            set_production(client, "swapped", 1 + index % 3)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert not failures
    assert set(seen) == set(answers), "every version was meant to be asked"
    server.idle_stats()
    return len(seen)


def _publish_versions(client: httpx.Client) -> dict[str, str]:
    """Publish three versions, and return the text that each answers alone, by its digest."""
    answers = {}
    for version in (1, 2, 3):
        content = checkpoint(seed=version, num_virtual_tokens=3 + version)
        published = publish(client, "swapped", content, manifest=MANIFEST)
        alone = complete(client, f"swapped@{version}")
        assert alone.headers["x-softprompt-digest"] == published["digest"]
        answers[published["digest"]] = alone.json()["choices"][0]["text"]
    assert len(set(answers.values())) == 3, "the versions were meant to answer differently"
    return answers


def main() -> None:
    """Run the long form and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=1_000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        swap_server(Path(folder)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        num_answers = swap_under_load(server, client, given.moves)
    print(f"{given.moves} moves on one server, {num_answers} answers, no error, each of the version it names")


if __name__ == "__main__":
    main()
