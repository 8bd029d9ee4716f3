"""Tuning on a real model and real texts, over HTTP, in a few steps."""

from __future__ import annotations

import json
import re

import openai
import pytest

from tests.devices import NAME
from tests.real_model.fetch import REVIEWS
from tests.system.live_server import live_server
from tests.system.tuning_demo import upload, wait

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

_STEP = re.compile(r"Step (\d+)/\d+: loss ([\d.]+)\.")
MIN_RIGHT = 38
"""Of 60. 45 were right on 2026-11-30; this is two standard errors below. Guesses give 30."""
INSTRUCTION = "Is this review of a film negative or positive? Answer with one word."


def rows(part, count):
    with (REVIEWS / f"{part}.jsonl").open() as file:
        return [json.loads(line) for line in file][:count]


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    with (
        live_server(base_model=str(folder), data_dir=data_dir, num_kv_blocks=400, device=NAME) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        yield client


def tune(client, task, num_examples, **hyperparameters):
    """The losses that the job's events report, step by step."""
    (base,) = [model.id for model in client.models.list().data if model.parent is None]
    job = client.fine_tuning.jobs.create(
        model=base,
        training_file=upload(client, rows("train", num_examples)),
        suffix=task,
        seed=0,
        hyperparameters={"initialisation": "TEXT", "init_text": INSTRUCTION, **hyperparameters},
        extra_body={"labels": ["negative", "positive"]},
    )
    ended = wait(client, job.id, timeout_s=1500)
    assert ended.status == "succeeded", ended.error
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    losses = {int(found[1]): float(found[2]) for event in events if (found := _STEP.match(event.message))}
    return [losses[step] for step in sorted(losses)]


def answers(client, model, texts):
    return [client.completions.create(model=model, prompt=text, temperature=0).choices[0].text for text in texts]


def test_a_short_run_lowers_the_loss_and_serves_its_version(client):
    """Six steps of four reviews: too few to learn the task, enough to see that gradients reach the soft prompt."""
    losses = tune(client, "short", 40, num_steps=6, batch_size=4, validate_every=6)
    assert losses[-1] < losses[0]
    (answer,) = answers(client, "short", ["a quiet , disquieting triumph ."])
    assert answer.strip()


@pytest.mark.long
def test_sixty_steps_learn_the_labels(client):
    """The base model alone answers none of the reviews with a bare label; tuned, it answers most of them rightly."""
    tune(client, "reviews", 400, num_steps=60, batch_size=8, validate_every=30)
    held_out = rows("test", 60)
    given = answers(client, "reviews", [row["text"] for row in held_out])
    right = sum(answer == row["label"] for answer, row in zip(given, held_out, strict=True))
    print(right, "of", len(held_out))
    assert right >= MIN_RIGHT, given
