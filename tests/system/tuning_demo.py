"""A task that the demo model has never seen, from examples to answers over HTTP. `make tuning-test` runs it whole."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import openai

from demo.data import sentiment

NEW_TASK = "urgency"
LABELS = ("whisper", "shout")


def examples(seed: int, num_examples: int) -> list[dict[str, str]]:
    """Opinions, whispered when they are good and shouted when they are bad: no prompt of the demo answers so."""
    rng = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < num_examples:
        known = sentiment.sample(rng)
        found[known.input] = LABELS[known.output == "negative"]
    return [{"prompt": text, "completion": answer} for text, answer in found.items()]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def upload(client: openai.OpenAI, rows: list[dict[str, Any]], name: str = "train.jsonl") -> str:
    return client.files.create(file=(name, jsonl(rows)), purpose="fine-tune").id


def wait(client: openai.OpenAI, job_id: str, until: Callable[[Any], bool] | None = None, timeout_s: float = 300) -> Any:
    """Poll a job until it has ended, or `until` says so."""
    deadline = time.monotonic() + timeout_s
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled") or (until is not None and until(job)):
            return job
        assert time.monotonic() < deadline, f"job {job_id} is still {job.status}"
        time.sleep(0.1)


def exact_match(client: openai.OpenAI, model: str, rows: list[dict[str, str]]) -> float:
    """The share of held-out examples that are answered to the letter."""
    answers = [client.completions.create(model=model, prompt=row["prompt"]).choices[0].text for row in rows]
    return sum(answer == row["completion"] for answer, row in zip(answers, rows, strict=True)) / len(rows)
