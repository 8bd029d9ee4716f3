import re

import pytest

from prompts_store.errors import StoreUnavailable
from server import __version__
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.checkpoints import BASE
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level

TOKENIZER = byte_level()


async def test_models_are_the_base_and_the_tasks_in_production(client):
    """A task without a version cannot be asked for, so it is not listed."""
    await publish(client)
    await client.post("/v1/tasks", json={"name": "empty"})
    models = (await client.get("/v1/models")).json()
    assert models["object"] == "list"
    assert [(model["id"], model["parent"]) for model in models["data"]] == [
        ("tiny-base", None), ("sentiment", "tiny-base"),
    ]  # fmt: skip
    assert models["data"][0] == {
        "id": "tiny-base",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "softprompt-server",
        "parent": None,
        "max_model_len": 256,
        "endpoints": ["/v1/completions", "/v1/chat/completions", "/v1/classify"],
    }


@pytest.mark.parametrize("model", ["tiny-base", "tiny/base-model", "tiny%2Fbase-model", "sentiment", "sentiment@1"])
async def test_a_model_is_found_by_its_id(client, model):
    """Slashes included, and task references too."""
    await publish(client)
    response = await client.get(f"/v1/models/{model}")
    assert response.status_code == 200
    assert ("x-softprompt-version" in response.headers) == model.startswith("sentiment")
    assert response.json()["endpoints"] == ["/v1/completions", "/v1/chat/completions", "/v1/classify"]


async def test_tokenize_counts_what_the_model_would_see(client):
    """The template's tokens are in it, the virtual tokens beside it; detokenize goes back."""
    await publish(client)
    body = (await client.post("/tokenize", json={"model": "sentiment", "prompt": "a film"})).json()
    tokens = list(TOKENIZER.encode(" a film ->"))
    assert body == {"tokens": tokens, "count": len(tokens), "num_virtual_tokens": 4, "max_model_len": 256}
    body = (await client.post("/detokenize", json={"model": "sentiment", "tokens": tokens})).json()
    assert body == {"prompt": " a film ->", "num_virtual_tokens": 4}
    body = (await client.post("/tokenize", json={"model": "tiny-base", "prompt": "a film"})).json()
    assert (body["tokens"], body["num_virtual_tokens"]) == (list(TOKENIZER.encode("a film")), 0)


async def test_tokenize_without_a_model_is_of_the_base_model(client):
    """The field may be null too."""
    tokens = list(TOKENIZER.encode("a film"))
    for model in ({}, {"model": None}, {"model": "tiny-base"}):
        body = (await client.post("/tokenize", json=model | {"prompt": "a film"})).json()
        assert (body["tokens"], body["num_virtual_tokens"]) == (tokens, 0)
        body = (await client.post("/detokenize", json=model | {"tokens": tokens})).json()
        assert body == {"prompt": "a film", "num_virtual_tokens": 0}


async def test_health_readiness_and_version(client):
    """What load balancers and people ask."""
    assert (await client.get("/health")).json() == {"status": "ok"}
    ready = (await client.get("/ready")).json()
    assert 0 <= ready.pop("store_age_s") < 60
    assert ready == {"status": "ready", "store": "reachable"}
    assert (await client.get("/version")).json() == {
        "version": __version__,
        "base_model": {"id": "tiny-base", "fingerprint": BASE.fingerprint, "weights": "float32"},
    }


async def test_without_the_store_known_tasks_answer(client, services, monkeypatch):
    """Unknown names and writes get a 503 that may be tried again; nothing of the database's words is told."""
    await publish(client)
    body = {"model": "sentiment", "prompt": "a"}
    await client.post("/v1/completions", json=body)

    def away(*_, **__):
        raise StoreUnavailable("could not connect to host db.internal")

    for name in (
        "resolve_all",
        "wait_for_changes",
        "load_content",
        "changes_since",
        "list_tasks",
        "create_task",
        "publish",
    ):
        monkeypatch.setattr(type(services.store_access.store), name, away)
    assert (await client.post("/v1/completions", json=body)).status_code == 200
    for response in (
        await client.post("/v1/completions", json=body | {"model": "other"}),
        await client.post("/v1/tasks", json={"name": "x"}),
        await publish(client, "x"),
        await client.get("/v1/models"),
    ):
        assert (response.status_code, error_of(response)["code"]) == (503, "store_unavailable")
        assert "db.internal" not in response.text
    await services.store_access.follower.follow_once()
    assert (await client.get("/ready")).json()["store"] == "unreachable"


@pytest.mark.parametrize("given", ["a", "req_01.x-Y", "x" * 64])
async def test_a_harmless_request_id_is_kept(client, given):
    """On success and failure alike."""
    for path in ("/health", "/nowhere"):
        assert (await client.get(path, headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "a\x7f", "<x>", "ü"])
async def test_any_other_request_id_is_replaced(client, given):
    """So that none of it gets into a log or a header."""
    headers = {} if given is None else {"x-request-id": given.encode()}
    assert re.fullmatch("req-[0-9a-f]{32}", (await client.get("/health", headers=headers)).headers["x-request-id"])


async def test_labels_cannot_be_scored_without_an_end_token(services):
    """The server says so instead of scoring half answers."""
    tokenizer = byte_level("no end")
    tokenizer._pretrained.eos_token = None
    async with client_of(with_parts(services, tokenizer=tokenizer, eos_token_ids=frozenset())) as http:
        response = await http.post("/v1/classify", json={"model": "tiny-base", "input": "a", "labels": ["x", "y"]})
        assert (response.status_code, error_of(response)["code"]) == (503, "not_ready")
