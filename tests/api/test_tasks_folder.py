"""Tasks that a folder owns are read-only over HTTP, and follow the folder."""

import asyncio

import pytest

from server.soft_prompts.tasks_folder import TasksFolder
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.checkpoints import BASE, prompt_tuning_files
from tests.fakes.services import with_parts


@pytest.fixture
def write(tmp_path):
    def write(seed):
        for name, content in prompt_tuning_files(seed=seed).items():
            end = "json" if name == "adapter_config" else "safetensors"
            path = tmp_path / "tasks" / "mood" / f"{name}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return write


@pytest.fixture
async def client(services, store, write, tmp_path):
    write(0)
    folder = TasksFolder(tmp_path / "tasks", store, BASE, poll_interval_s=0.02)
    folder.scan(at_once=True)
    async with client_of(with_parts(services, tasks_folder=folder)) as http:
        yield http


async def test_it_is_read_only_over_http(client):
    """Whatever would change it is refused by one code; other tasks are as ever."""
    url, condition = "/v1/tasks/mood", {"If-Match": "*"}
    for response in (
        await client.post("/v1/tasks", json={"name": "mood"}),
        await publish(client, "mood", seed=1),
        await client.delete(f"{url}/versions/1"),
        await client.put(f"{url}/aliases/canary", json={"version": 1}, headers=condition),
        await client.delete(f"{url}/aliases/production"),
        await client.post(f"{url}/aliases/production/rollback"),
        await client.delete(url),
        await client.delete(url, params={"purge": "true"}),
    ):
        assert (response.status_code, error_of(response)["code"]) == (409, "task_read_only")
    assert (await client.get(url)).json()["production_version"] == 1
    assert (await publish(client, "other")).status_code == 201


async def test_a_task_says_that_it_is_read_only(client):
    """Alone and in the list; other tasks do not have the field."""
    assert (await publish(client, "other")).status_code == 201
    assert (await client.get("/v1/tasks/mood")).json()["read_only"] is True
    assert "read_only" not in (await client.get("/v1/tasks/other")).json()
    listed = (await client.get("/v1/tasks")).json()["data"]
    assert [(task["name"], task.get("read_only")) for task in listed] == [("mood", True), ("other", None)]


async def test_a_change_in_the_folder_reaches_the_next_requests(client, write):
    """Without anybody asking for it."""
    write(1)
    while True:
        answer = await client.post("/v1/completions", json={"model": "mood", "prompt": "a"})
        assert answer.status_code == 200
        if answer.headers["x-softprompt-version"] == "2":
            break
        await asyncio.sleep(0.02)
