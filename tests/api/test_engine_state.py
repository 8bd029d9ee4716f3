"""`GET /v1/engine`: what each caller sees of the engine, and what a poll costs."""

import json
import time

import pytest

from prompts_store.keys import KeyGrant
from server.api.access.key_ring import KeyRing
from server.api.engine_state import EngineStates
from server.engine.usage import EngineUsage, PrefixUsage, TaskUsage
from tests.api.conftest import client_of, publish
from tests.fakes import openapi
from tests.fakes.services import with_parts


def usage(tasks=(), prefixes=()):
    """An engine of a thousand blocks, ten of them cached."""
    held = sum(each.num_blocks for each in (*tasks, *prefixes))
    return EngineUsage(tuple(tasks), tuple(prefixes), 1000, 10, 990 - held)


def prefix(digest, task, *, leases=0, idle_since=None):
    return PrefixUsage(digest, task, num_virtual_tokens=8, num_blocks=2, num_leases=leases, idle_since=idle_since)


def holders(state):
    return [(each["kind"], each["task"], each["blocks"]) for each in state["kv_blocks"]["holders"]]


async def state_of(client, headers=None):
    response = await client.get("/v1/engine", headers=headers)
    assert response.status_code == 200
    state = response.json()
    assert sum(each["blocks"] for each in state["kv_blocks"]["holders"]) == state["kv_blocks"]["total"]
    return state


async def test_tasks_and_holders_are_named(client, engine):
    """The base model by its id, a soft prompt by its version."""
    digest = (await publish(client)).json()["prefix_digest"]
    await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a"})
    now = time.monotonic()
    engine.holders = usage(
        [TaskUsage("", 1, 0, num_blocks=3), TaskUsage("sentiment", 2, 4, oldest_arrival=now - 30, num_blocks=5)],
        [prefix("old", "sentiment", idle_since=now - 60), prefix(digest, "sentiment", leases=2)],
    )
    state = await state_of(client)
    assert (state["running"], state["waiting"]) == (3, 4)
    assert [(each["task"], each["running"], each["waiting"]) for each in state["tasks"]] == [
        ("sentiment", 2, 4),
        ("tiny-base", 1, 0),
    ]
    assert 30 <= state["tasks"][0]["oldest_wait_s"] < 40 and state["tasks"][1]["oldest_wait_s"] is None
    assert holders(state) == [
        ("prefix", "sentiment", 2), ("prefix", "sentiment", 2), ("sequence", "sentiment", 5),
        ("sequence", "tiny-base", 3), ("cached", None, 10), ("free", None, 978),
    ]  # fmt: skip
    used, idle = state["soft_prompts"]
    assert (used["references"], used["pinned"], used["leases"], used["idle_s"]) == (["sentiment@1"], True, 2, None)
    assert (idle["references"], idle["pinned"], idle["digest"]) == ([], False, "old")
    assert 60 <= idle["idle_s"] < 70


async def test_the_list_is_bounded_and_the_rest_is_summed_up(client, engine):
    """A thousand busy tasks make no longer body than twenty, and no block is lost."""
    engine.holders = usage(
        [TaskUsage(f"t{number:03}", number, 0, num_blocks=1) for number in range(200)],
        [prefix(f"d{number:03}", f"t{number:03}", idle_since=float(number)) for number in range(100)],
    )
    state = await state_of(client)
    assert [each["task"] for each in state["tasks"]] == [f"t{number:03}" for number in range(199, 179, -1)]
    assert state["other_tasks"] == {"tasks": 180, "running": sum(range(180)), "waiting": 0, "oldest_wait_s": None}
    assert [each["digest"] for each in state["soft_prompts"]] == [f"d{number:03}" for number in range(99, 49, -1)]
    assert state["other_soft_prompts"] == {"soft_prompts": 50, "blocks": 100, "leases": 0}


async def test_a_restricted_key_sees_the_names_of_its_tasks_alone(services, engine):
    """Neither another task, nor the base model, nor a digest of theirs; their sums stay."""
    store = services.store_access.store
    held = store.create_key(KeyGrant("held", frozenset({"tasks:read"}), tasks=("mine",))).secret
    async with client_of(with_parts(services, keys=KeyRing(store, "admin-secret"))) as client:
        admin = {"authorization": "Bearer admin-secret"}
        published = await publish(client, "mine", headers=admin)
        await publish(client, "secret", headers=admin)  # the same tensors
        digest = published.json()["prefix_digest"]
        for task in ("mine", "secret"):
            await client.post("/v1/completions", json={"model": task, "prompt": "a"}, headers=admin)
        engine.holders = usage(
            [
                TaskUsage("", 1, 0, num_blocks=3),
                TaskUsage("secret", 9, 9, oldest_arrival=0.0, num_blocks=9),
                TaskUsage("mine", 1, 0, num_blocks=1),
            ],
            [prefix("hidden", "secret", leases=1), prefix(digest, "secret", leases=9)],
        )
        state = await state_of(client, {"authorization": f"Bearer {held}"})
        everything = await state_of(client, admin)
    assert "secret" not in str(state) and "hidden" not in str(state)
    assert [each["task"] for each in state["tasks"]] == ["mine"]
    assert {**state["other_tasks"], "oldest_wait_s": None} == {
        "tasks": 2, "running": 10, "waiting": 9, "oldest_wait_s": None,
    }  # fmt: skip
    assert [(each["task"], each["references"]) for each in state["soft_prompts"]] == [("mine", ["mine@1"])]
    assert state["other_soft_prompts"]["soft_prompts"] == 1
    assert everything["soft_prompts"][1]["references"] == ["mine@1", "secret@1"]
    assert (everything["running"], everything["waiting"]) == (state["running"], state["waiting"]) == (11, 9)


async def test_callers_share_one_snapshot_for_a_quarter_of_a_second(client, services, engine):
    """Each set of tasks has one body; a new moment makes new ones."""
    now = 100.0
    states = EngineStates(services, lambda: now)
    first = states.body_for(None)
    engine.holders = usage([TaskUsage("mood", 1, 0, num_blocks=1)])
    assert states.body_for(None) is first
    assert states.body_for(frozenset({"mood"})) != first
    now += 0.25
    assert states.body_for(None) != first


async def test_rates_come_from_two_snapshots(client, services, engine):
    """The clock and the histograms only grow."""
    engine.observers = [services.metrics.requests]
    before = await state_of(client)
    answer = await client.post("/v1/completions", json={"model": "tiny-base", "prompt": "a"})
    num_tokens = answer.json()["usage"]["completion_tokens"]
    after = json.loads(EngineStates(services).body_for(None))
    assert after["time_s"] > before["time_s"] >= 0
    first, gaps = after["latency"]["time_to_first_token"], after["latency"]["inter_token"]
    assert (first["count"], gaps["count"]) == (1, num_tokens - 1)
    assert first["buckets"] == sorted(first["buckets"], key=lambda bucket: (bucket["le_s"], bucket["count"]))


async def test_the_running_job_is_part_of_it(client):
    """Without one it is null."""
    assert (await state_of(client))["tuning"] is None


@pytest.mark.parametrize("is_alive", [True, False])
async def test_a_dead_engine_still_shows_its_last_state(client, engine, is_alive):
    """It says so, where `/health` fails."""
    engine.is_alive = is_alive
    assert (await state_of(client))["alive"] is is_alive


async def test_a_stopping_server_still_answers(client, services):
    """An operator watches it end."""
    services.drain.begin()
    assert (await client.get("/v1/engine")).status_code == 200


def test_the_schema_names_every_field():
    """Each property that is not evident has its sentence."""
    schemas = openapi.document()["components"]["schemas"]
    for name in ("time_s", "started_at", "running", "waiting", "tasks", "soft_prompts"):
        assert schemas["EngineState"]["properties"][name]["description"]
