"""`/v1/batches` over HTTP: OpenAI's shapes, owners, and the rights of each line at the time it is asked."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from prompts_store.keys import KeyGrant, KeyLimits
from prompts_store.tuning_store import TuningStore
from server.api.access.key_ring import KeyRing
from server.api.access.quotas import Quotas
from tests.api.conftest import client_of, error_of, publish
from tests.batches.conftest import FAST, PATH, input_file, line, lines_of, until, with_batches
from tests.fakes.services import with_parts

ADMIN = {"authorization": "Bearer admin-secret"}


@pytest.fixture
async def keyed(services):
    """A server with keys and the task `sentiment`."""
    ring = KeyRing(services.store_access.store, "admin-secret")
    services = with_batches(with_parts(services, keys=ring, quotas=Quotas()), FAST)
    async with client_of(services) as http:
        assert (await publish(http, headers=ADMIN)).status_code == 201
        yield http


@pytest.fixture
def key(services):
    """Makes keys; their headers."""

    async def make(name, *scopes, **more):
        store_access = services.store_access
        created = store_access.store.create_key(KeyGrant(name, frozenset(scopes or ("infer",)), **more))
        await store_access.follower.refresh()
        return {"authorization": f"Bearer {created.secret}"}

    return make


async def upload(http, data, headers=None, purpose="batch"):
    response = await http.post(
        "/v1/files", files={"file": ("in.jsonl", data)}, data={"purpose": purpose}, headers=headers
    )
    return response


async def begin(http, *lines, headers=None, endpoint=PATH):
    """The body of a batch of these lines."""
    file = (await upload(http, input_file(*lines), headers)).json()
    body = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h", "metadata": {"a": "b"}}
    response = await http.post("/v1/batches", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def ended(http, batch, headers=None):
    """The body of a batch that has ended."""
    async with asyncio.timeout(20):
        while True:
            body = (await http.get(f"/v1/batches/{batch['id']}", headers=headers)).json()
            if body["status"] in ("completed", "failed", "expired", "cancelled"):
                return body
            await asyncio.sleep(0.02)


async def content(http, file_id, headers=None):
    """The lines of a file as objects."""
    response = await http.get(f"/v1/files/{file_id}/content", headers=headers)
    return [json.loads(one) for one in response.text.splitlines()]


async def test_a_batch_from_its_file_to_its_answers(client):
    """The answers are those of the route itself."""
    await publish(client)
    created = await begin(client, line("a"), line("b", {"model": "nobody", "prompt": "x"}), line("c"))
    assert (created["status"], created["metadata"]) == ("validating", {"a": "b"})
    assert created["expires_at"] - created["created_at"] == 24 * 3600
    done = await ended(client, created)
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert done["in_progress_at"] <= done["finalizing_at"] <= done["completed_at"]
    answers = await content(client, done["output_file_id"])
    assert [one["custom_id"] for one in answers] == ["a", "c"]
    live = (await client.post(PATH, json={"model": "sentiment", "prompt": "a"})).json()
    varies = ("id", "created")
    body = answers[0]["response"]["body"]
    assert {name: body[name] for name in body if name not in varies} == {
        name: live[name] for name in live if name not in varies
    }
    (error,) = await content(client, done["error_file_id"])
    refused = await client.post(PATH, json={"model": "nobody", "prompt": "x"})
    assert (error["response"]["status_code"], error["response"]["body"]) == (404, refused.json())


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"model": "sentiment", "messages": [{"role": "user", "content": "a"}]}),
        ("/v1/classify", {"model": "sentiment", "input": ["a", "b"]}),
    ],
)
async def test_the_other_endpoints_answer_as_their_routes(client, endpoint, body):
    """Chats and classifications have the bodies of their routes."""
    await publish(client)
    done = await ended(client, await begin(client, line("a", body, url=endpoint), endpoint=endpoint))
    (answer,) = await content(client, done["output_file_id"])
    live = (await client.post(endpoint, json=body)).json()
    assert answer["response"]["body"].keys() == live.keys()


@pytest.mark.parametrize(
    "body",
    [
        {"model": "sentiment", "prompt": 7},
        {"model": "sentiment", "prompt": "a", "temprature": 1},
        {"model": "sentiment", "prompt": "a", "best_of": 3},
        {"model": "sentiment", "prompt": "a", "max_tokens": -2},
        {"model": "sentiment", "prompt": []},
    ],
)
async def test_a_refused_line_has_the_body_of_its_route(client, body):
    """Validation included; the line's neighbours are answered."""
    await publish(client)
    done = await ended(client, await begin(client, line("bad", body), line("good")))
    (error,) = await content(client, done["error_file_id"])
    refused = await client.post(PATH, json=body)
    assert (error["response"]["status_code"], error["response"]["body"]) == (400, refused.json())
    assert done["request_counts"]["completed"] == 1


async def test_an_invalid_file_names_its_lines(client):
    """In OpenAI's list of errors."""
    done = await ended(client, await begin(client, line("a"), "{", line("a")))
    assert (done["status"], done["output_file_id"], done["error_file_id"]) == ("failed", None, None)
    assert done["failed_at"] is not None
    assert done["errors"]["object"] == "list"
    assert [(one["code"], one["line"], one["param"]) for one in done["errors"]["data"]] == [
        ("invalid_json_line", 2, None),
        ("duplicate_custom_id", 3, "custom_id"),
    ]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"endpoint": "/v1/images"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-99"}, 404, None),
        ({"input_file_id": "nothing"}, 404, None),
        ({"metadata": {"a": 1}}, 400, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, 400, "output_expires_after"),
        ({"more": 1}, 400, "more"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused(client, change, status, param):
    """At once, by the field at fault."""
    file = (await upload(client, b"{}")).json()
    body = {"input_file_id": file["id"], "endpoint": PATH, "completion_window": "24h"} | change
    response = await client.post("/v1/batches", json=body)
    assert (response.status_code, error_of(response)["param"]) == (status, param)


async def test_a_file_of_examples_is_no_batch(client):
    """A file has one purpose."""
    file = (await upload(client, b"{}", purpose="fine-tune")).json()
    body = {"input_file_id": file["id"], "endpoint": PATH, "completion_window": "24h"}
    assert (await client.post("/v1/batches", json=body)).status_code == 404


async def test_batches_are_listed_by_pages(client):
    """Newest first; `after` is the last id of the page before."""
    for name in ("a", "b", "c"):
        await begin(client, line(name))
    first = (await client.get("/v1/batches", params={"limit": 2})).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (["batch-3", "batch-2"], True)
    rest = (await client.get("/v1/batches", params={"after": first["last_id"]})).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (["batch-1"], False)


async def test_a_batch_is_cancelled(client, engine):
    """Its status is OpenAI's on the way, and a second cancellation finds it ended."""
    await publish(client)
    engine.gate.clear()
    batch = await begin(client, *(line(f"l{number}") for number in range(9)))
    await until(lambda: engine.unfinished)
    cancelling = (await client.post(f"/v1/batches/{batch['id']}/cancel")).json()
    assert cancelling["status"] in ("cancelling", "cancelled")
    done = await ended(client, batch)
    assert (done["status"], done["request_counts"]["total"]) == ("cancelled", 9)
    assert done["cancelling_at"] <= done["cancelled_at"]
    again = await client.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, error_of(again)["code"]) == (409, "batch_status_conflict")


async def test_batches_and_files_of_another_key_do_not_exist(keyed, key):
    """Not in lists, not by their ids; a key with the scope admin sees them."""
    mine, theirs = await key("mine"), await key("theirs")
    done = await ended(keyed, await begin(keyed, line("a"), headers=theirs), theirs)
    for path in (
        f"/v1/batches/{done['id']}",
        f"/v1/files/{done['input_file_id']}",
        f"/v1/files/{done['output_file_id']}/content",
    ):
        assert (await keyed.get(path, headers=mine)).status_code == 404
        assert (await keyed.get(path, headers=theirs)).status_code == 200
        assert (await keyed.get(path, headers=ADMIN)).status_code == 200
    assert (await keyed.post(f"/v1/batches/{done['id']}/cancel", headers=mine)).status_code == 404
    assert (await keyed.delete(f"/v1/files/{done['output_file_id']}", headers=mine)).status_code == 404
    for path in ("/v1/batches", "/v1/files"):
        assert (await keyed.get(path, headers=mine)).json()["data"] == []
    body = {"input_file_id": done["input_file_id"], "endpoint": PATH, "completion_window": "24h"}
    assert (await keyed.post("/v1/batches", json=body, headers=mine)).status_code == 404


async def test_the_scopes_of_files(keyed, key):
    """Who may infer has batches, who may tune has examples, and neither sees the other's."""
    infer, tune = await key("infer"), await key("tune", "tune")
    refused = await upload(keyed, b"{}", infer, "fine-tune")
    assert (refused.status_code, error_of(refused)["code"]) == (403, "insufficient_scope")
    assert (await upload(keyed, b"{}", tune, "batch")).status_code == 403
    examples = (await upload(keyed, b"{}", tune, "fine-tune")).json()["id"]
    requests = (await upload(keyed, b"{}", infer, "batch")).json()["id"]
    assert (await keyed.get(f"/v1/files/{examples}", headers=infer)).status_code == 404
    assert (await keyed.get(f"/v1/files/{requests}", headers=tune)).status_code == 404
    assert (await keyed.get(f"/v1/files/{examples}", headers=tune)).status_code == 200


async def test_a_key_held_to_tasks_has_answers_of_those_only(keyed, key):
    """Each line is checked: another task and the base model are the line's errors."""
    assert (await publish(keyed, "other", seed=2, headers=ADMIN)).status_code == 201
    held = await key("held", tasks=("sentiment",))
    lines = [line(model, {"model": model, "prompt": "a"}) for model in ("sentiment", "other", "tiny-base")]
    done = await ended(keyed, await begin(keyed, *lines, headers=held), held)
    assert done["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    codes = [one["response"]["body"]["error"]["code"] for one in await content(keyed, done["error_file_id"], held)]
    assert codes == ["task_not_allowed", "task_not_allowed"]


async def test_a_revoked_key_has_no_further_answers(keyed, key, services, engine, store):
    """Lines asked before are kept; those after are refused, one by one."""
    headers = await key("soon-gone")
    await begin(keyed, *(line(f"l{number}") for number in range(12)), headers=headers)
    engine.gate.clear()
    await until(lambda: len(engine.unfinished) == 4 or _status(store) == "completed")
    if _status(store) == "completed":
        pytest.skip("the lines were faster than the test")
    store.revoke_key("soon-gone")
    await services.store_access.follower.refresh()
    engine.gate.set()
    await until(lambda: _status(store) == "completed")
    batch = (await keyed.get("/v1/batches", headers=ADMIN)).json()["data"][0]
    errors = await content(keyed, batch["error_file_id"], ADMIN)
    assert {one["response"]["status_code"] for one in errors} == {401}
    assert len(errors) == batch["request_counts"]["failed"] > 0


def _status(store):
    with store.database.read() as connection:
        return connection.exec_driver_sql("SELECT status FROM batches").scalar()


async def test_an_expired_key_has_no_answers(keyed, key):
    """What was answered before stays, for an operator to see."""
    headers = await key("short", expires_at=datetime.now(UTC) + timedelta(seconds=0.6))
    batch = await begin(keyed, line("a"), headers=headers)
    first = await ended(keyed, batch, ADMIN)
    assert first["request_counts"]["completed"] == 1


async def test_a_quota_delays_lines_and_fails_none(keyed, key):
    """Requests at once: the lines wait for each other. A prompt over the limit of a minute is an error."""
    headers = await key("slow", limits=KeyLimits(max_concurrent=3, max_tokens_per_minute=150))
    long = {"model": "sentiment", "prompt": "x" * 200}
    lines = [line(f"l{number}") for number in range(5)]
    batch = await begin(keyed, *lines, line("long", long), headers=headers)
    done = await ended(keyed, batch, ADMIN)
    (error,) = await content(keyed, done["error_file_id"], ADMIN)
    assert error["custom_id"] == "long"
    assert error["response"]["body"]["error"]["code"] == "tokens_per_minute_too_few"
    assert done["request_counts"]["completed"] == 5


async def test_the_queue_of_a_key_is_bounded(services, engine):
    """429 beyond the maximum; the message names the setting."""
    limits = replace(services.settings.limits, max_batches=1)
    settings = replace(services.settings, limits=limits)
    engine.gate.clear()
    async with client_of(with_batches(with_parts(services, settings=settings))) as http:
        await publish(http)
        batch = await begin(http, line("a"))
        body = {"input_file_id": batch["input_file_id"], "endpoint": PATH, "completion_window": "24h"}
        refused = await http.post("/v1/batches", json=body)
        assert (refused.status_code, error_of(refused)["code"]) == (429, "batch_queue_full")
        assert "--max-batches" in error_of(refused)["message"]


async def test_an_input_file_in_use_is_not_deleted(client, engine):
    """After the end it can be."""
    await publish(client)
    engine.gate.clear()
    batch = await begin(client, line("a"))
    refused = await client.delete(f"/v1/files/{batch['input_file_id']}")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "file_in_use")
    engine.gate.set()
    await ended(client, batch)
    assert (await client.delete(f"/v1/files/{batch['input_file_id']}")).status_code == 200


async def test_a_purge_removes_the_batches_of_the_task(client, store):
    """With input and output files."""
    await publish(client)
    done = await ended(client, await begin(client, line("a")))
    purged = (await client.delete("/v1/tasks/sentiment", params={"purge": "true"})).json()
    assert (purged["num_batches"], purged["num_files"]) == (1, 2)
    assert (await client.get(f"/v1/batches/{done['id']}")).status_code == 404
    assert TuningStore(store).list_files() == ()


async def test_lines_yield_and_are_counted_apart(client, engine, services):
    """Their engine requests are of the batch lane, no observer sees them, and the metrics say what was done."""
    await publish(client)
    await ended(client, await begin(client, line("a"), line("b")))
    assert [request.is_batch for request in engine.requests] == [True, True]
    await client.post(PATH, json={"model": "sentiment", "prompt": "a"})
    assert engine.requests[-1].is_batch is False
    metrics = (await client.get("/metrics")).text
    assert 'softprompt_batch_lines_total{outcome="answered"} 2.0' in metrics
    assert 'softprompt_batches_ended_total{outcome="completed"} 1.0' in metrics
    assert (await client.get("/v1/engine")).json()["batches"] is None


async def test_a_running_batch_is_in_the_state_of_the_engine(client, engine):
    """The page and monitors see how many lines are in flight."""
    await publish(client)
    engine.gate.clear()
    batch = await begin(client, line("a"), line("b"))
    await until(lambda: len(engine.unfinished) == 2)
    await asyncio.sleep(0.3)
    assert (await client.get("/v1/engine")).json()["batches"] == {"running": 1, "lines_in_flight": 2}
    engine.gate.set()
    await ended(client, batch)


async def test_an_alias_of_several_versions_answers_a_line_always_alike(client, store):
    """The custom_id chooses the version: a line asked again after a kill gets the same one."""
    for seed in (1, 2):
        await publish(client, seed=seed)
    body = {"targets": [{"version": 1, "weight": 50}, {"version": 2, "weight": 50}]}
    etag = (await client.get("/v1/tasks/sentiment/aliases/production")).headers["etag"]
    moved = await client.put("/v1/tasks/sentiment/aliases/production", json=body, headers={"if-match": etag})
    assert moved.status_code == 200, moved.text
    ids = []
    for _ in range(2):
        done = await ended(client, await begin(client, *(line(f"l{number}") for number in range(8))))
        ids.append([one["custom_id"] for one in lines_of(store, int(done["output_file_id"].split("-")[1]))])
    assert ids[0] == ids[1]
