"""A server whose disk is full: uploads are refused, requests are answered, and a tuning job waits for room."""

from __future__ import annotations

import time

import httpx
import openai
import pytest

from prompts_store import maintenance
from prompts_store.store import Store
from server.settings import sqlite_url
from tests.fakes.failing_disk import FailingDisk
from tests.system.server_process import ServerProcess
from tests.system.tuning import start, steps_done
from tests.system.tuning_demo import examples, jsonl, upload, wait


@pytest.mark.slow
def test_a_full_disk_costs_uploads_and_nothing_else(tmp_path):
    """507 in the one error body; the job's checkpoints and its version wait, and are there once there is room."""
    disk = FailingDisk(tmp_path)
    options = {"data_dir": tmp_path / "data", "threads": 1, "tuning_checkpoint_s": 0.1}
    with (
        ServerProcess(tmp_path / "log", environment=disk.environment, **options) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        job_id = start(client, upload(client, examples(2, 120)), "full", num_steps=40, batch_size=8)
        wait(client, job_id, lambda _: steps_done(client, job_id) > 0)
        disk.fill()
        files = {"file": ("more.jsonl", jsonl(examples(3, 120)))}
        refused = httpx.post(f"{server.url}/v1/files", files=files, data={"purpose": "fine-tune"}, timeout=60)
        assert refused.status_code == 507
        assert refused.json()["error"] == {
            "message": "the server's disk has no room for the file now; try again later",
            "type": "server_error", "code": "storage_full", "param": None,
        }  # fmt: skip
        assert len(client.files.list().data) == 1
        assert client.completions.create(model="sentiment", prompt="I loved it").choices[0].text == "positive"
        deadline = time.monotonic() + 120
        while "cannot be saved now: The database's disk is full." not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.fine_tuning.jobs.retrieve(job_id).status == "running"
        disk.heal()
        done = wait(client, job_id)
        assert (done.status, done.fine_tuned_model) == ("succeeded", "full@1")
        told = [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)]
        assert "A checkpoint could not be saved: The database's disk is full." in told
        upload(client, examples(3, 120))
    with Store.open(sqlite_url(tmp_path / "data")) as store:
        report = maintenance.verify(store)
    assert (report.problems, report.num_files) == ((), 2)
