"""What /metrics says is what happened, and its labels stay few whatever clients send."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.api.access.key_ring import KeyRing
from server.engine.client import EngineStats, FormHolds
from server.engine.errors import EngineOverloaded
from server.telemetry.metrics import Metrics
from server.telemetry.state_metrics import _engine
from server.telemetry.task_labels import BASE_MODEL, OTHER_TASKS, TaskLabels
from tests.api.conftest import client_of, publish
from tests.fakes.services import with_parts


@pytest.fixture
def services(services):
    """The application as it is served: with its engine observed."""
    services.inference.engine.observers = [services.metrics.requests]
    return services


async def scrape(client):
    """Every sample of /metrics, by name and labels."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def task(name, **more):
    return tuple(sorted({"task": name, **more}.items()))


async def test_requests_and_tokens_are_counted_by_task(client, engine):
    """Prompt, cached and generated tokens are those of the answer's own usage."""
    engine.num_cached_tokens = 2
    await publish(client)
    for stream in (False, True):
        answer = await client.post("/v1/completions", json={"model": "sentiment", "prompt": "a", "stream": stream})
        assert answer.status_code == 200
    usage = (await client.post("/v1/completions", json={"model": "tiny-base", "prompt": "abc"})).json()["usage"]
    found = await scrape(client)
    assert found["softprompt_requests_total", *task("sentiment", outcome="finished")] == 2
    assert found["softprompt_requests_total", *task(BASE_MODEL, outcome="finished")] == 1
    assert found["softprompt_prompt_tokens_total", *task(BASE_MODEL)] == usage["prompt_tokens"]
    assert found["softprompt_generated_tokens_total", *task(BASE_MODEL)] == usage["completion_tokens"]
    assert found["softprompt_cached_prompt_tokens_total", *task("sentiment")] == 4
    assert found["softprompt_time_to_first_token_seconds_count",] == 3
    assert found["softprompt_time_per_output_token_seconds_count",] == 3
    num_gaps = 3 * (usage["completion_tokens"] - 1)
    assert found["softprompt_inter_token_latency_seconds_count",] == num_gaps
    assert found["softprompt_request_duration_seconds_count", ("operation", "generate")] == 3


async def test_classifications_failures_and_lost_readers_have_outcomes(client, engine):
    """A request that fails or is left counts once, as what it was."""
    await client.post("/v1/classify", json={"model": "tiny-base", "input": ["a", "b"], "labels": ["x", "y"]})
    engine.fail_after = 0
    await client.post("/v1/completions", json={"model": "tiny-base", "prompt": "a"})
    engine.fail_after = None
    engine.gate.clear()
    lost = asyncio.create_task(client.post("/v1/completions", json={"model": "tiny-base", "prompt": "a"}))
    while not engine.unfinished:
        await asyncio.sleep(0.001)
    lost.cancel()
    while engine.unfinished:
        await asyncio.sleep(0.001)
    found = await scrape(client)
    outcomes = {o: found.get(("softprompt_requests_total", *task(BASE_MODEL, outcome=o))) for o in OUTCOMES}
    assert outcomes == {"finished": 2, "failed": 1, "aborted": 1}
    assert found["softprompt_request_duration_seconds_count", ("operation", "score")] == 2


OUTCOMES = ("finished", "failed", "aborted")


async def test_labels_are_bounded_whatever_is_sent(client):
    """Raw paths, methods and names that no task bears make no new series (PYSEC-2026-4325)."""
    await client.get("/nowhere")
    await client.request("BREW", "/health")
    before = set(await scrape(client))
    for number in range(20):
        await client.get(f"/nowhere/{number}")
        await client.request(f"X{number}", "/health")
        await client.get(f"/v1/tasks/unknown-{number}")
        await client.post("/v1/completions", json={"model": f"unknown-{number}", "prompt": "a"})
    new = {name for name in set(await scrape(client)) - before if name[0].startswith("softprompt_")}
    values = {value for name in new for label, value in name[1:] if label != "le"}
    routes = {"/v1/tasks/{task}", "/v1/completions", "/metrics"}
    assert values == routes | {"GET", "POST", "200", "404", "", "task_not_found"}


async def test_tasks_beyond_the_bound_share_their_figures(services, engine):
    """Sums stay right."""
    metrics = Metrics(max_tasks=1)
    engine.observers = [metrics.requests]
    services = with_parts(services, metrics=metrics)
    async with client_of(services) as client:
        for name in ("one", "two", "three"):
            await publish(client, name)
            await client.post("/v1/completions", json={"model": name, "prompt": "a"})
        found = await scrape(client)
    assert found["softprompt_requests_total", *task("one", outcome="finished")] == 1
    assert found["softprompt_requests_total", *task(OTHER_TASKS, outcome="finished")] == 2


def test_a_label_once_given_is_kept():
    labels = TaskLabels(2)
    assert [labels.of(name) for name in ("", "a", "b", "c", "a")] == [BASE_MODEL, "a", "b", OTHER_TASKS, "a"]


@pytest.mark.parametrize("purge", [False, True])
async def test_a_removed_task_gives_its_label_back(services, engine, purge):
    """Tasks that come and go would otherwise take all labels for ever; the series of one that is gone are gone too."""
    metrics = Metrics(max_tasks=1)
    engine.observers = [metrics.requests]
    async with client_of(with_parts(services, metrics=metrics)) as client:
        for name in ("one", "two", "three"):
            await publish(client, name)
            await client.post("/v1/completions", json={"model": name, "prompt": "a"})
            found = await scrape(client)
            tasks = {dict(key[1:]).get("task") for key in found} - {None}
            assert tasks == {name}
            assert found["softprompt_requests_total", *task(name, outcome="finished")] == 1
            response = await client.delete(f"/v1/tasks/{name}", params={"purge": purge})
            assert response.is_success
        assert not {dict(key[1:]).get("task") for key in await scrape(client)} - {None}


async def test_a_request_that_outlives_its_task_makes_no_series(services, client, engine):
    """What it counts goes to those that share a label, so that the name does not come back."""
    await publish(client, "one")
    engine.gate.clear()
    answer = asyncio.create_task(client.post("/v1/completions", json={"model": "one", "prompt": "a"}))
    while not engine.unfinished:
        await asyncio.sleep(0.001)
    await client.delete("/v1/tasks/one", params={"purge": True})
    engine.gate.set()
    assert (await answer).status_code == 200
    found = await scrape(client)
    assert {dict(key[1:]).get("task") for key in found} - {None} == {OTHER_TASKS}
    assert found["softprompt_requests_total", *task(OTHER_TASKS, outcome="finished")] == 1


def test_a_label_is_taken_back_for_the_next_task():
    """Asking for what is known claims nothing."""
    labels = TaskLabels(1)
    assert [labels.known("a"), labels.of("a"), labels.known("a"), labels.of("b")] == [
        OTHER_TASKS,
        "a",
        "a",
        OTHER_TASKS,
    ]
    labels.forget({"a", "never seen"})
    assert [labels.known("a"), labels.of("b"), labels.of("a")] == [OTHER_TASKS, "b", OTHER_TASKS]


async def test_the_state_is_that_of_the_moment(client, services):
    """Gauges are read at each scrape."""
    found = await scrape(client)
    assert (found["softprompt_ready",], found["softprompt_draining",], found["softprompt_engine_up",]) == (1, 0, 1)
    assert 0 <= found["softprompt_store_age_seconds",] < 60
    services.drain.begin()
    found = await scrape(client)
    assert (found["softprompt_ready",], found["softprompt_draining",]) == (0, 1)
    assert found["softprompt_tuning_jobs", ("state", "running")] == 0


def test_what_forms_cost_steps_is_a_histogram():
    """The engine counts by bucket; Prometheus wants the sums up to each bound."""
    holds = FormHolds((3, 0, 1, 0, 0, 0, 0, 0, 1), 0.25, num_late=2)
    (family,) = [one for one in _engine(EngineStats(*[0] * 9, form_holds=holds)) if "form_hold" in one.name]
    found = {(one.name, one.labels.get("le")): one.value for one in family.samples}
    name = "softprompt_form_hold_seconds"
    assert found[f"{name}_bucket", "0.0005"] == found[f"{name}_bucket", "0.001"] == 3
    assert found[f"{name}_bucket", "0.1"] == 4
    assert (found[f"{name}_bucket", "+Inf"], found[f"{name}_count", None], found[f"{name}_sum", None]) == (5, 5, 0.25)


async def test_metrics_name_tasks_so_they_need_a_key(services):
    """With one configured, /metrics is closed without it."""
    services = with_parts(services, keys=KeyRing(services.store_access.store, "k3y"))
    async with client_of(services) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers={"authorization": "Bearer k3y"})).status_code == 200


async def test_an_error_is_counted_by_its_code(client, services, engine, monkeypatch):
    """Overload, a stop and a failure can be told apart; what a client invents is in none of the labels."""
    body = {"model": "tiny-base", "prompt": "a"}
    assert (await client.post("/v1/completions", json=body)).status_code == 200
    engine.refuse = EngineOverloaded("full")
    assert (await client.post("/v1/completions", json=body)).status_code == 429
    assert (await client.post("/v1/completions", json=body | {"prompt": 1})).status_code == 400
    monkeypatch.setattr(type(services.store_access.store), "create_task", lambda *_, **__: 1 / 0)
    assert (await client.post("/v1/tasks", json={"name": "x"})).status_code == 500
    services.drain.begin()
    assert (await client.post("/v1/completions", json=body)).status_code == 503
    found = await scrape(client)
    counts = {
        (labels["route"], labels["code"], labels["status"]): value
        for (name, *pairs), value in found.items()
        if name == "softprompt_http_requests_total" and (labels := dict(pairs))["method"] == "POST"
    }
    assert counts == {
        ("/v1/completions", "", "200"): 1,
        ("/v1/completions", "engine_overloaded", "429"): 1,
        ("/v1/completions", "invalid_value", "400"): 1,
        ("/v1/tasks", "internal_error", "500"): 1,
        ("(none)", "server_draining", "503"): 1,
    }
