"""Tuning in a server process of the demo model: a new task, beside serving, and through a kill.

The long form, in minutes: `python -m tests.system.tuning` (all three, with figures).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from server.demo import BASE_NAME
from tests.system.server_process import ServerProcess
from tests.system.tuning_demo import LABELS, NEW_TASK, exact_match, examples, upload, wait

TASKS = ("sentiment", "date-iso", "intent", "language")
TEXTS = ("I loved it", "the 4th of July 1976", "where is my parcel", "wo ist der Bahnhof", "a waste of money")


@dataclass(frozen=True, slots=True)
class Server:
    """A server process, and a client of it."""

    process: ServerProcess
    client: openai.OpenAI


@contextmanager
def serving(data_dir: Path, **options: object) -> Iterator[Server]:
    """Run a server until the block ends."""
    with (
        ServerProcess(data_dir / "log", data_dir=data_dir, **options) as process,
        openai.OpenAI(base_url=f"{process.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield Server(process, client)


def start(client: openai.OpenAI, file_id: str, task: str, **hyperparameters: Any) -> str:
    """Create a job of the new task's examples; its id."""
    return client.fine_tuning.jobs.create(
        model=BASE_NAME,
        training_file=file_id,
        suffix=task,
        seed=1,
        hyperparameters=hyperparameters,  # type: ignore[arg-type]  # those of ours are not in the client's types
        extra_body={"labels": list(LABELS)},
    ).id


def steps_done(client: openai.OpenAI, job_id: str) -> int:
    """Optimiser steps that a job has told of."""
    events = client.fine_tuning.jobs.list_events(job_id, limit=20).data
    found = [int(step[1]) for event in events if (step := re.match(r"Step (\d+)/", event.message))]
    return max(found, default=0)


def digest(client: openai.OpenAI, task: str) -> str:
    """The content digest of a task's first version."""
    version: Any = client.get(f"/tasks/{task}/versions/1", cast_to=object)
    return str(version["digest"])


# --- a new task -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewTask:
    """How a new task came about: seconds from upload to the job's end, and the share of answers right to the letter."""

    took_s: float
    score_before: float
    score: float


def new_task(
    data_dir: Path, num_threads: int, *, num_examples: int = 2000, num_held_out: int = 200, **plan: Any
) -> NewTask:
    """Tune a task that no prompt of the demo does, then ask for it in the same process."""
    rows = examples(1, num_examples + num_held_out)
    train, held_out = rows[:num_examples], rows[num_examples:]
    with serving(data_dir, threads=num_threads) as server:
        before = exact_match(server.client, BASE_NAME, held_out)
        began = time.monotonic()
        job = wait(server.client, start(server.client, upload(server.client, train), NEW_TASK, **plan))
        took_s = time.monotonic() - began
        assert job.status == "succeeded", job.error
        return NewTask(took_s, before, exact_match(server.client, NEW_TASK, held_out))


# --- through a kill ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Killed:
    """The step that a job had reached when its server was killed, that it went on from, and both digests."""

    killed_after: int
    went_on_from: int
    digest: str
    undisturbed: str


def through_a_kill(data_dir: Path, num_steps: int, kill_after: int) -> Killed:
    """Kill a server with -9 in the middle of a job; the next one ends the job. Then the same job undisturbed."""
    options = {"tuning_checkpoint_s": 0.5, "tuning_takeover_s": 1.5, "threads": 1}
    plan = {"num_steps": num_steps, "batch_size": 8}
    with serving(data_dir, **options) as server:
        file_id = upload(server.client, examples(2, 120))
        job_id = start(server.client, file_id, "killed", **plan)
        wait(server.client, job_id, lambda _: steps_done(server.client, job_id) >= kill_after)
        killed_after = steps_done(server.client, job_id)
        server.process.kill()
    with serving(data_dir, **options) as server:
        job = wait(server.client, job_id)
        assert job.status == "succeeded", job.error
        events = server.client.fine_tuning.jobs.list_events(job_id, limit=100)
        told = [re.match(r"The job goes on from its checkpoint at step (\d+)", event.message) for event in events]
        (went_on_from,) = (int(found[1]) for found in told if found)
        other = wait(server.client, start(server.client, file_id, "undisturbed", **plan))
        assert other.status == "succeeded", other.error
        return Killed(killed_after, went_on_from, digest(server.client, "killed"), digest(server.client, "undisturbed"))


# --- beside serving ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """What a load of requests got: answers by request, and answered tokens a second."""

    answers: dict[int, str]
    tokens_per_s: float
    num_waiting: int


@dataclass(frozen=True, slots=True)
class BesideServing:
    """Throughput alone and beside a job (the median of pairs), steps that the job did meanwhile, and whether answers
    were the same."""

    alone: float
    beside: float
    ratio: float
    num_steps: int
    num_requests: int
    num_waiting: int
    are_same: bool


async def load(url: str, num_requests: int, num_clients: int, max_tokens: int) -> Load:
    """Ask fixed questions of several tasks, greedily, `num_clients` at once."""
    answers: dict[int, str] = {}
    numbers = iter(range(num_requests))
    num_waiting = 0

    async def ask(client: httpx.AsyncClient) -> None:
        nonlocal num_waiting
        for number in numbers:
            body = {
                "model": TASKS[number % len(TASKS)],
                "prompt": f"{TEXTS[number % len(TEXTS)]} {number % 50}",
                "max_tokens": max_tokens,
                "ignore_eos": True,
                "temperature": 0,
            }
            response = await client.post("/v1/completions", json=body)
            answers[number] = response.json()["choices"][0]["text"]
            if number % 50 == 0:
                metrics = (await client.get("/metrics")).text
                found = re.search(r"^softprompt_sequences_waiting (\d+)", metrics, re.MULTILINE)
                num_waiting = max(num_waiting, int(found[1]) if found else 0)

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        began = time.monotonic()
        await asyncio.gather(*(ask(client) for _ in range(num_clients)))
        return Load(answers, num_requests * max_tokens / (time.monotonic() - began), num_waiting)


def beside_serving(data_dir: Path, num_rounds: int, num_requests: int) -> BesideServing:
    """Measure a load alone, then beside a running job, in turns; requests queue throughout."""
    options = {"max_num_seqs": 16, "threads": 1}
    pairs, num_steps, num_waiting, are_same = [], 0, 0, True
    with serving(data_dir, **options) as server:
        file_id = upload(server.client, examples(3, 600))
        asyncio.run(load(server.process.url, 50, 32, 24))  # prefixes are resident, caches are warm
        for number in range(num_rounds):
            alone = asyncio.run(load(server.process.url, num_requests, 32, 24))
            job_id = start(server.client, file_id, f"beside-{number}", num_steps=5000)
            wait(server.client, job_id, lambda _, job_id=job_id: steps_done(server.client, job_id) > 0)  # type: ignore[misc]
            first = steps_done(server.client, job_id)
            beside = asyncio.run(load(server.process.url, num_requests, 32, 24))
            time.sleep(1.1)  # a beat, which tells of the last steps
            num_steps += steps_done(server.client, job_id) - first
            server.client.fine_tuning.jobs.cancel(job_id)
            time.sleep(1.5)
            pairs.append((alone.tokens_per_s, beside.tokens_per_s))
            num_waiting = max(num_waiting, beside.num_waiting)
            are_same = are_same and alone.answers == beside.answers
    alone_s, beside_s, ratio = _median(pairs)
    return BesideServing(alone_s, beside_s, ratio, num_steps, num_rounds * num_requests, num_waiting, are_same)


def _median(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The pair of the median ratio, and that ratio."""
    alone, beside = sorted(pairs, key=lambda pair: pair[1] / pair[0])[len(pairs) // 2]
    return alone, beside, beside / alone


def main() -> None:
    """Run what is asked for, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["new", "kill", "beside", []], default=[])
    chosen = parser.parse_args().what or ["new", "kill", "beside"]
    for what in itertools.chain(chosen):
        with tempfile.TemporaryDirectory() as folder:
            match what:
                case "new":
                    print(new_task(Path(folder), 2, num_steps=200), flush=True)
                case "kill":
                    print(through_a_kill(Path(folder), num_steps=60, kill_after=20), flush=True)
                case "beside":
                    print(beside_serving(Path(folder), num_rounds=3, num_requests=300), flush=True)


if __name__ == "__main__":
    main()
