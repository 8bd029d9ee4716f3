"""The pictures of the page in docs/images/: `make page-pictures`."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from tests.programs import program
from tests.system.server_process import ROOT, ServerProcess
from tests.web.checkpoints import publish
from tests.web.tuning_jobs import start_job

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = ROOT / "docs/images"
_SIZE = {"width": 1280, "height": 900}
_BUSY = ("sentiment", "date-iso", "language", "intent", "number-words", "triage")
_ENGINE_MS, _TIMEOUT_MS, _PICTURED_STEP = 25_000, 60_000, 140
_REVIEW = "The soup was cold, but the waiter made up for it and we had a lovely evening"


@contextmanager
def playground(page: Page, api: httpx.Client) -> Iterator[None]:
    """One input for two tasks and the bare base model."""
    page.goto(str(api.base_url))
    page.get_by_label("Task", exact=True).select_option("sentiment")
    for number, task in ((2, "language"), (3, "softprompt-demo")):
        page.get_by_role("button", name="Compare with another").click()
        page.get_by_label(f"Task {number}").select_option(task)
    page.get_by_label("Input").fill(_REVIEW)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("generated").nth(2).wait_for()
    yield


@contextmanager
def tasks(page: Page, api: httpx.Client) -> Iterator[None]:
    """A task with a canary and its history."""
    publish(api, "support", "intent", "triage")
    for weights, reason in (((90, 10), "canary"), ((50, 50), "as good as version 1")):
        targets = [{"version": number, "weight": weight} for number, weight in enumerate(weights, 1)]
        body = {"targets": targets, "reason": reason}
        api.put("/v1/tasks/support/aliases/production", json=body, headers={"if-match": "*"}).raise_for_status()
    page.goto(f"{api.base_url}#/tasks/support")
    page.get_by_text("as good as version 1").first.wait_for()
    yield


@contextmanager
def tuning(page: Page, api: httpx.Client) -> Iterator[None]:
    """The curves of a job that runs."""
    rows = [json.loads(line) for line in (ROOT / "examples/messages.jsonl").read_text().splitlines()]
    job = start_job(api, "queue", rows, {"num_steps": 200, "validate_every": 10, "batch_size": 8})
    page.goto(f"{api.base_url}#/tuning/{job['id']}")
    while (api.get("/v1/engine").json()["tuning"] or {"step": 0})["step"] < _PICTURED_STEP:
        time.sleep(1)
    yield
    api.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel").raise_for_status()


@contextmanager
def engine(page: Page, api: httpx.Client) -> Iterator[None]:
    """Six tasks at work."""
    is_over = threading.Event()

    def ask(task: str) -> None:
        body = {"model": task, "prompt": _REVIEW, "max_tokens": 200, "ignore_eos": True, "n": 4}
        while not is_over.is_set():
            api.post("/v1/completions", json=body).raise_for_status()

    threads = [threading.Thread(target=ask, args=(task,)) for task in _BUSY]
    for thread in threads:
        thread.start()
    page.goto(f"{api.base_url}#/engine")
    page.wait_for_timeout(_ENGINE_MS)
    yield
    is_over.set()
    for thread in threads:
        thread.join()


PICTURES = ((playground, "light"), (tasks, "light"), (tuning, "dark"), (engine, "dark"))


def main() -> None:
    """Take all pictures anew."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=["--no-sandbox"])
        server = ServerProcess(Path(folder, "log"), data_dir=Path(folder, "data"), num_kv_blocks=480)
        with server, httpx.Client(base_url=server.url, timeout=60) as api:
            for prepare, scheme in PICTURES:
                page = browser.new_page(viewport=_SIZE, color_scheme=scheme, reduced_motion="reduce")
                page.set_default_timeout(_TIMEOUT_MS)
                with prepare(page, api):
                    _save(page, IMAGES / f"{prepare.__name__}.png")
                page.close()
        browser.close()


def _save(page: Page, path: Path) -> None:
    page.screenshot(path=path)
    Image.open(path).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
