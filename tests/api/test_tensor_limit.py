"""`--max-tensor-bytes` is one limit: what an upload, a folder and a tuning job may make, and what the store takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from prompts_store.errors import CheckpointTooLarge
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.store import Store
from server.api.access.key_ring import KeyRing
from server.soft_prompts.catalog import TaskCatalog
from server.soft_prompts.tasks_folder import publish_checkpoint
from server.store_follower import StoreFollower
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.checkpoints import BASE, prompt_tuning_files
from tests.fakes.services import fake_services, with_parts

WIDE = replace(BASE, hidden_size=1 << 20)
NUM_VIRTUAL_TOKENS = 17
NUM_BYTES = 4 * NUM_VIRTUAL_TOKENS * WIDE.hidden_size
"""More than the default limit."""


@pytest.fixture(scope="module")
def wide_files():
    """A checkpoint above the default limit, as half floats, which travel faster."""
    assert NUM_BYTES > DEFAULT_MAX_TENSOR_BYTES
    files = prompt_tuning_files(num_virtual_tokens=NUM_VIRTUAL_TOKENS, token_dim=WIDE.hidden_size)
    matrix = np.full((NUM_VIRTUAL_TOKENS, WIDE.hidden_size), 0.5, np.float16)
    return files | {"adapter_model": save({"prompt_embeddings": matrix})}


def write(folder, files):
    """The checkpoint as a folder."""
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(files["adapter_config"])
    (folder / "adapter_model.safetensors").write_bytes(files["adapter_model"])
    return folder


def over(store, engine, base, *, max_tensor_bytes):
    """The services of a server of another base model, with another limit."""
    services = fake_services(store, engine)
    follower = StoreFollower(store)
    limits = replace(services.settings.limits, max_tensor_bytes=max_tensor_bytes)
    return with_parts(
        services,
        settings=replace(services.settings, limits=limits),
        base=base,
        follower=follower,
        catalog=TaskCatalog(store, base, follower),
        keys=KeyRing(store),
    )


async def test_a_raised_limit_holds_from_the_upload_to_the_answer(engine, wide_files, tmp_path):
    """Over HTTP and from a folder it is one version; it answers, and is downloaded as it came."""
    with Store.open(str(tmp_path / "wide.db"), max_tensor_bytes=NUM_BYTES) as store:
        async with client_of(over(store, engine, WIDE, max_tensor_bytes=NUM_BYTES)) as client:
            response = await publish(client, "wide", manifest={}, **wide_files)
            assert response.status_code == 201, response.text
            answer = await client.post("/v1/completions", json={"model": "wide", "prompt": "a", "max_tokens": 3})
            assert answer.status_code == 200, answer.text
            assert engine.requests[-1].prefix.tensor.shape == (NUM_VIRTUAL_TOKENS, WIDE.hidden_size)
            download = await client.get("/v1/tasks/wide/versions/1/adapter_model.safetensors")
            assert np.array_equal(
                *(load(file)["prompt_embeddings"] for file in (download.content, wide_files["adapter_model"]))
            )
            folder = write(tmp_path / "wide", wide_files)
            assert not publish_checkpoint(store, WIDE, folder, promote=False, actor="test").created


async def test_a_lowered_limit_refuses_what_only_the_tensors_exceed(engine, tmp_path):
    """A small file of half floats takes twice as much in the store: over HTTP and from a folder it is one error."""
    matrix = np.ones((16, BASE.hidden_size), np.float16)
    files = prompt_tuning_files(num_virtual_tokens=16) | {"adapter_model": save({"prompt_embeddings": matrix})}
    with Store.open(str(tmp_path / "small.db"), max_tensor_bytes=511) as store:
        async with client_of(over(store, engine, BASE, max_tensor_bytes=511)) as client:
            response = await publish(client, **files)
            error = error_of(response)
            assert (response.status_code, error["code"]) == (413, "checkpoint_too_large")
            with pytest.raises(CheckpointTooLarge, match="more than 511 bytes as float32") as refused:
                publish_checkpoint(store, BASE, write(tmp_path / "mood", files), promote=False, actor="test")
            assert (str(refused.value), refused.value.param) == (error["message"].split(": ")[1], error["param"])
            assert store.list_tasks(BASE.fingerprint) == ()
