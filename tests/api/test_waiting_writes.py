"""Writes that wait for the database hold up nobody else."""

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager

from prompts_store.keys import KeyGrant
from prompts_store.sql.databases.backend import MAX_OVERFLOW, POOL_SIZE
from tests.api.conftest import error_of, publish
from tests.test_threads import until

EXAMPLES = b"".join(b'{"prompt": "%d", "completion": "b"}\n' % number for number in range(20))


@contextmanager
def write_lock(store):
    """The lock that every writer needs, held by another process, as it were."""
    with store.database.read() as connection:
        path = connection.exec_driver_sql("PRAGMA database_list").one()[2]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_waiting_writes_delay_nothing_else(client, services):
    """Eight tasks are made at once while the lock is held elsewhere; all else is answered before it is let go."""
    await publish(client)
    service, access = services.store_access.store, services.store_access
    service.create_key(KeyGrant("old", frozenset({"admin"})))
    secret = service.create_key(KeyGrant("ci", frozenset({"admin"}))).secret
    await access.follower.refresh()
    key = {"authorization": f"Bearer {secret}"}
    service.revoke_key("old")
    with write_lock(service):
        bodies = [{"name": f"task-{number}"} for number in range(8)]
        writes = [asyncio.create_task(client.post("/v1/tasks", json=body, headers=key)) for body in bodies]
        await until(lambda: access.writes.num_calls == 8)
        metrics = await client.get("/metrics", headers=key)
        models = await client.get("/v1/models", headers=key)
        tasks = await client.get("/v1/tasks", headers=key)
        completion = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "x"}, headers=key)
        await access.follower.refresh()
        assert not any(write.done() for write in writes)
    assert [answer.status_code for answer in (metrics, models, tasks, completion)] == [200] * 4
    assert {record.grant.name for record, _ in services.access.keys._known.by_digest.values()} == {"ci"}
    assert [(await write).status_code for write in writes] == [201] * 8


async def test_requests_and_jobs_need_none_of_asyncio_s_shared_threads(client):
    """Whatever a library puts there may hold up all of them."""
    await publish(client)
    let_go = threading.Event()
    held = [asyncio.get_running_loop().run_in_executor(None, let_go.wait) for _ in range(40)]
    try:
        async with asyncio.timeout(30):
            file = {"file": ("a.jsonl", EXAMPLES), "purpose": (None, "fine-tune")}
            uploaded = (await client.post("/v1/files", files=file)).json()
            job = {"model": "tiny-base", "training_file": uploaded["id"], "suffix": "mood"}
            job = (await client.post("/v1/fine_tuning/jobs", json=job)).json()
            while job["status"] != "running":
                job = (await client.get(f"/v1/fine_tuning/jobs/{job['id']}")).json()
            assert (await client.get("/metrics")).status_code == 200
            assert (await publish(client, "other")).status_code == 201
            assert (await client.post("/v1/completions", json={"model": "other", "prompt": "x"})).status_code == 200
    finally:
        let_go.set()
        await asyncio.gather(*held)


async def test_a_full_queue_of_writes_is_a_503_that_says_when_to_come_back(client, services, monkeypatch):
    """Reads go on."""
    monkeypatch.setattr("server.threads.MAX_WAITING", 2)
    with write_lock(services.store_access.store):
        num_taken = services.store_access.writes.num_threads + 2
        writes = [asyncio.create_task(client.post("/v1/tasks", json={"name": f"t-{n}"})) for n in range(num_taken)]
        await until(lambda: services.store_access.writes.num_calls == num_taken)
        refused = await client.post("/v1/tasks", json={"name": "late"})
        assert (refused.status_code, error_of(refused)["code"]) == (503, "store_busy")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/v1/tasks")).status_code == 200
    assert [(await write).status_code for write in writes] == [201] * num_taken


def test_every_thread_finds_a_connection(services):
    """Otherwise the pool of connections would be the queue in which one kind of work waits for another."""
    access = services.store_access
    threads = [access.reads, access.writes, access.follower._threads]
    threads += [services.access.keys._threads, services.inference.catalog._threads, services.jobs._threads]
    hearts, waits_for_changes, folder, conclusion = 2, 1, 1, 1
    num_threads = sum(each.num_threads for each in threads) + hearts + waits_for_changes + folder + conclusion
    assert num_threads <= POOL_SIZE + MAX_OVERFLOW
