"""A new task with default settings through the HTTP API, seed after seed: how many end well, and what each takes.

`python -m tests.system.tuning_seeds` (an hour or less of one core). Nothing but the seed is sent with a job.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from demo.catalog import TASKS, draw
from demo.data.example import Split
from server.demo import BASE_NAME
from tests.system.server_process import ServerProcess
from tests.system.tuning import serving
from tests.system.tuning_demo import NEW_TASK, exact_match, examples, upload, wait

NUM_EXAMPLES, NUM_HELD_OUT = 1_200, 100
GOOD = 85
_TIMEOUT_S = 3_600


@dataclass(frozen=True, slots=True)
class Outcome:
    """Right answers of 100 held-out ones, optimiser steps, and seconds from upload to the job's end."""

    seed: int
    score: int
    num_steps: int
    cpu_s: float
    wall_s: float


def rows_of(task: str) -> list[dict[str, str]]:
    """Examples to train on, then the held-out ones, as texts and labels: the same for every seed."""
    if task == NEW_TASK:
        found = examples(1, NUM_EXAMPLES + NUM_HELD_OUT)
        return [{"text": row["prompt"], "label": row["completion"]} for row in found]
    known = next(one for one in TASKS if one.name == task)
    training = draw(known, Split.TRAIN, NUM_EXAMPLES, 1, frozenset())
    held_out = draw(known, Split.TEST, NUM_HELD_OUT, 1, frozenset())
    return [{"text": example.input, "label": example.output} for example in (*training, *held_out)]


def outcome_of(process: ServerProcess, client: openai.OpenAI, rows: Sequence[dict[str, str]], seed: int) -> Outcome:
    """Tune once, and ask the result in the same process."""
    train, held_out = rows[:NUM_EXAMPLES], rows[NUM_EXAMPLES:]
    began, cpu_began_s = time.monotonic(), process.cpu_s
    file_id = upload(client, list(train))
    task = f"seed-{seed}"
    created = client.fine_tuning.jobs.create(model=BASE_NAME, training_file=file_id, suffix=task, seed=seed)
    job = wait(client, created.id, timeout_s=_TIMEOUT_S)
    assert job.status == "succeeded", job.error
    wall_s, cpu_s = time.monotonic() - began, process.cpu_s - cpu_began_s
    score = exact_match(client, task, [{"prompt": row["text"], "completion": row["label"]} for row in held_out])
    return Outcome(seed, round(100 * score), job.metrics["num_steps"], cpu_s, wall_s)


def main() -> None:
    """Print a row per seed, then how many ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default=NEW_TASK, help="urgency, or a task of the demo's catalogue (route, triage)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    rows, outcomes = rows_of(chosen.task), []
    print("| seed | of 100 | steps | CPU s | wall s |\n|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), threads=chosen.threads) as server:
        for seed in chosen.seeds:
            one = outcome_of(server.process, server.client, rows, seed)
            outcomes.append(one)
            print(f"| {one.seed} | {one.score} | {one.num_steps} | {one.cpu_s:.0f} | {one.wall_s:.0f} |", flush=True)
    print(f"{sum(one.score >= GOOD for one in outcomes)} of {len(outcomes)} reach {GOOD} of {NUM_HELD_OUT}")


if __name__ == "__main__":
    main()
