"""A nightly batch: the day's messages are routed by one task and read by another one, in one file of requests.

Run it beside `make serve`:  .venv/bin/python examples/nightly_batch.py examples/messages.jsonl routed.jsonl

The file has one {"text": …} a line. `softprompt batch` does the same for a file of requests, and resumes after a kill.
"""

import json
import os
import sys
import time
from pathlib import Path

from openai import OpenAI

URL = os.environ.get("SOFTPROMPT_URL", "http://127.0.0.1:8000")
TASKS = ("route", "intent")


def main(source: Path, target: Path) -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("SOFTPROMPT_API_KEY", "unused without one"))
    texts = [json.loads(line)["text"] for line in source.read_text().splitlines()]
    lines = [request(f"{number}/{task}", task, text) for number, text in enumerate(texts) for task in TASKS]
    file = client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
    if batch.status != "completed" or batch.error_file_id or not batch.output_file_id:
        sys.exit(f"the batch {batch.id} is {batch.status}: {batch.errors or batch.request_counts}")
    answers = {}
    for answer in map(json.loads, client.files.content(batch.output_file_id).text.splitlines()):
        answers[answer["custom_id"]] = answer["response"]["body"]["choices"][0]["text"]
    rows = [
        {"text": text, **{task: answers[f"{number}/{task}"] for task in TASKS}} for number, text in enumerate(texts)
    ]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} messages are in {target}")


def request(custom_id: str, task: str, text: str) -> str:
    body = {"model": task, "prompt": text}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body})


main(Path(sys.argv[1]), Path(sys.argv[2]))
