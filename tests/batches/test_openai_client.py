"""The stock `openai` client's batches, files included."""

import json
import time

import httpx
import openai
import pytest

from tests.api.live_server import live_server
from tests.batches.conftest import PATH, input_file, line
from tests.fakes.checkpoints import prompt_tuning_files


@pytest.fixture
def openai_client(services):
    with (
        live_server(services) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client,
    ):
        files = {name: (name, data) for name, data in prompt_tuning_files().items()}
        assert httpx.post(f"{url}/v1/tasks/sentiment/versions", files=files).status_code == 201
        yield client


def ended(client, batch):
    """The batch once it has ended."""
    deadline = time.monotonic() + 30
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def test_a_batch_by_the_stock_client(openai_client):
    """Create, retrieve, list, read the files."""
    file = openai_client.files.create(file=("in.jsonl", input_file(line("a"), line("b"))), purpose="batch")
    assert file.purpose == "batch"
    made = openai_client.batches.create(input_file_id=file.id, endpoint=PATH, completion_window="24h")
    done = ended(openai_client, made)
    assert (done.status, done.request_counts.completed, done.request_counts.total) == ("completed", 2, 2)
    answers = [json.loads(one) for one in openai_client.files.content(done.output_file_id).text.splitlines()]
    assert [one["response"]["body"]["choices"][0]["text"] for one in answers] == [" positive", " positive"]
    assert [batch.id for batch in openai_client.batches.list()] == [done.id]
    with pytest.raises(openai.ConflictError):
        openai_client.batches.cancel(done.id)


def test_the_faults_of_a_file_by_the_stock_client(openai_client):
    """Its types have the list with lines."""
    file = openai_client.files.create(file=("in.jsonl", b"{"), purpose="batch")
    made = openai_client.batches.create(input_file_id=file.id, endpoint=PATH, completion_window="24h")
    failed = ended(openai_client, made)
    assert [(one.code, one.line) for one in failed.errors.data] == [("invalid_json_line", 1)]
