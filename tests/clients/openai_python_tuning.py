"""Tuning by the `openai` package, with every optional argument that it offers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from inspect import signature
from typing import Any

import openai

from tests.clients.scenario import BASE, ROWS, TURNS, check_refused, jsonl, scenario

client = openai.OpenAI(max_retries=0)
jobs = client.fine_tuning.jobs
ENDED = ("succeeded", "failed", "cancelled")
HYPERPARAMETERS: Any = {"n_epochs": 1, "batch_size": 8, "learning_rate_multiplier": 1.0}
WANDB: Any = [{"type": "wandb", "wandb": {"project": "ours"}}]


def upload(word: str = "late") -> str:
    rows = [{**row, "prompt": row["prompt"].replace("late", word)} for row in ROWS]
    return client.files.create(file=("train.jsonl", jsonl(rows)), purpose="fine-tune").id


def wait(job_id: str, until: Sequence[str] = ENDED) -> Any:
    deadline = time.monotonic() + 60
    while (job := jobs.retrieve(job_id)).status not in until:
        assert time.monotonic() < deadline, f"the job is still {job.status}"
        time.sleep(0.1)
    return job


def _tune(suffix: str, **asked: Any) -> Any:
    job = wait(jobs.create(model=BASE, training_file=upload(), suffix=suffix, **asked).id)
    assert job.status == "succeeded", job.error
    return job


@scenario("tuning", "every argument")
def every_argument() -> None:
    asked = {
        "validation_file": upload("lost"),
        "method": {"type": "supervised", "supervised": {"hyperparameters": HYPERPARAMETERS}},
        "integrations": [],
        "metadata": {"team": "ours"},
        "seed": 7,
    }
    offered = {name for name in signature(jobs.create).parameters if not name.startswith("extra_")} - {"timeout"}
    assert offered == asked.keys() | {"model", "training_file", "suffix", "hyperparameters"}, offered
    job = _tune("tuned-a", **asked)
    assert (job.seed, job.metadata, job.integrations) == (7, {"team": "ours"}, [])
    events = list(jobs.list_events(job.id, limit=2))  # the client asks for one page after another
    assert len({event.id for event in events}) == len(events) > 2
    assert list(jobs.checkpoints.list(job.id, limit=1))
    assert job.id in [one.id for one in jobs.list(limit=100)]
    answer = client.completions.create(model=job.fine_tuned_model, prompt=TURNS[0], max_tokens=4)
    assert answer.usage.completion_tokens > 0  # an end token perhaps: three steps teach nothing


@scenario("tuning", "the older hyperparameters, the others null")
def arguments_of_null() -> None:
    nothing: Any = dict.fromkeys(("integrations", "metadata", "method", "seed", "validation_file"))
    _tune("tuned-b", hyperparameters=HYPERPARAMETERS, **nothing)


@scenario("tuning", "the older hyperparameters, auto")
def auto() -> None:
    job = jobs.create(
        model=BASE,
        training_file=upload(),
        suffix="tuned-c",
        hyperparameters={"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
    )
    jobs.cancel(job.id)
    assert wait(job.id).status == "cancelled"


@scenario("tuning", "method supervised alone")
def method_alone() -> None:
    method: Any = {"type": "supervised", "supervised": {}}
    jobs.cancel(jobs.create(model=BASE, training_file=upload(), suffix="tuned-d", method=method).id)


@scenario("tuning", "a suffix with spaces")
def suffix_with_spaces() -> None:
    """OpenAI's own example; a suffix is a name there that needs no form."""
    jobs.cancel(jobs.create(model=BASE, training_file=upload(), suffix="My Task 1").id)


@scenario("tuning", "cancel, pause, resume")
def pause_and_resume() -> None:
    job_id = jobs.create(model=BASE, training_file=upload(), suffix="tuned-e").id
    wait(job_id, until=("queued", "running"))
    assert jobs.pause(job_id).status == "paused"
    assert jobs.resume(job_id).status in ("queued", "running", "validating_files")
    jobs.cancel(job_id)
    assert wait(job_id).status == "cancelled"


for name, asked in {
    "integrations": {"integrations": WANDB},
    "dpo": {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}},
    "reinforcement": {
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": {"type": "string_check", "name": "g", "input": "a", "reference": "b", "operation": "eq"}
            },
        }
    },
}.items():

    def refused(name: str, asked: Any) -> None:
        """Which the server does not do."""
        create = partial(jobs.create, model=BASE, training_file=upload(), suffix="tuned-f", **asked)
        check_refused(create, openai.BadRequestError, name if name in asked else "method")

    scenario("tuning", f"{name} is refused")(partial(refused, name, asked))


@scenario("tuning", "jobs by metadata")
def jobs_by_metadata() -> None:
    """A filter that is done, or refused; never passed over."""
    try:
        found = jobs.list(metadata={"team": "nobody's"}).data
    except openai.BadRequestError as error:
        assert error.param and error.param.startswith("metadata"), error
    else:
        assert not found, "the filter was passed over"
