"""Files of examples for the page, and jobs over the API."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import httpx

from tests.system.tuning_demo import examples
from tests.web.browser import Tab

Rows = Sequence[dict[str, Any]]
ROWS: Rows = [{"text": one["prompt"], "label": one["completion"]} for one in examples(1, 40)]
QUICK: dict[str, Any] = {"num_steps": 3, "num_virtual_tokens": 2, "batch_size": 2, "validate_every": 3}
"""Hyperparameters with which a job ends in seconds."""
LONG_MS = 120_000
_BASE = "softprompt-demo"


def jsonl(rows: Rows) -> bytes:
    """A file's bytes."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def choose(tab: Tab, data: bytes, name: str = "train.jsonl") -> None:
    """Give the page a file, as the dialog of the browser does."""
    tab.page.locator("input[type=file]").first.set_input_files({"name": name, "mimeType": "", "buffer": data})


def drop(tab: Tab, data: bytes, name: str = "train.jsonl") -> None:
    """Drop a file on the page."""
    transfer = tab.page.evaluate_handle(
        "([text, name]) => { const all = new DataTransfer(); all.items.add(new File([text], name)); return all; }",
        [data.decode(), name],
    )
    tab.page.locator(".drop").first.dispatch_event("drop", {"dataTransfer": transfer})


def start_job(
    api: httpx.Client, task: str, rows: Rows = ROWS, hyperparameters: dict[str, Any] = QUICK, **more: Any
) -> dict[str, Any]:
    """Create a job over the API and return its body."""
    uploaded = api.post("/v1/files", files={"file": ("train.jsonl", jsonl(rows))}, data={"purpose": "fine-tune"})
    job = {"model": _BASE, "training_file": uploaded.json()["id"], "suffix": task, "hyperparameters": hyperparameters}
    response = api.post("/v1/fine_tuning/jobs", json=job | more)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def wait_for(api: httpx.Client, job: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """Poll a job until it has one of the statuses."""
    deadline = time.monotonic() + LONG_MS / 1000
    while True:
        found: dict[str, Any] = api.get(f"/v1/fine_tuning/jobs/{job['id']}").json()
        if found["status"] in statuses:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
