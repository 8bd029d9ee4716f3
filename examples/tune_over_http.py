"""Tune a soft prompt inside a running server, through the stock openai client, and ask it at once.

Run it beside `make serve` (a minute or two; a number of steps may follow):

    .venv/bin/python examples/tune_over_http.py examples/verdict.jsonl verdict

The file has one {"input": …, "output": …} a line; the server takes {"text": …, "label": …}. A tenth of the lines is
held out, and the job's score is that of the answers to them.
"""

import json
import os
import sys
import time
from pathlib import Path

from openai import OpenAI

URL = os.environ.get("SOFTPROMPT_URL", "http://127.0.0.1:8000")


def main(path: Path, task: str, num_steps: int = 120) -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("SOFTPROMPT_API_KEY", "unused without one"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    job_id = begin(client, rows, task, num_steps)
    follow(client, job_id)
    job = client.fine_tuning.jobs.retrieve(job_id)
    if job.status != "succeeded":
        sys.exit(f"the job {job.status}: {job.error and job.error.message}")
    print(f"{job.fine_tuned_model}: {job.metrics['exact_match']:.3f} of the held-out answers are right to the letter")
    text = "The sound is crisp and the battery lasts"
    print(f"{text!r} -> {client.completions.create(model=task, prompt=text).choices[0].text!r}")


def begin(client: OpenAI, rows: list[dict[str, str]], task: str, num_steps: int) -> str:
    """Upload the examples and make the job; its id."""
    lines = "".join(json.dumps({"text": row["input"], "label": row["output"]}) + "\n" for row in rows)
    file = client.files.create(file=("train.jsonl", lines.encode()), purpose="fine-tune")
    return client.fine_tuning.jobs.create(
        model=next(model.id for model in client.models.list() if model.parent is None),  # the base model
        training_file=file.id,
        suffix=task,
        seed=0,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"batch_size": 16, "num_steps": num_steps, "num_virtual_tokens": 12}},
        },
        extra_body={"promote": True},
    ).id


def follow(client: OpenAI, job_id: str) -> None:
    """Print what is told of a job, oldest first, until it has ended."""
    seen = set()
    while True:
        has_ended = client.fine_tuning.jobs.retrieve(job_id).status in ("succeeded", "failed", "cancelled")
        for event in reversed(list(client.fine_tuning.jobs.list_events(job_id, limit=100))):
            if event.id not in seen and not event.message.startswith("Step "):
                print(event.message, flush=True)
            seen.add(event.id)
        if has_ended:
            return
        time.sleep(1)


main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
