"""Uploads of checkpoints as people have them: odd configurations, and an embedding layer inside."""

import json
import logging

import pytest
import torch
from safetensors.torch import load, save

from prompts_store.checkpoint.left_out import file_entries
from prompts_store.checkpoint.safetensors_header import BytesSource, read_header
from server.soft_prompts.tasks_folder import publish_checkpoint
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.checkpoints import BASE, prompt_tuning_files
from tests.fakes.services import with_parts

LAYER = "base_model.model.embed_tokens.weight"
WORDS = torch.randn(16, BASE.hidden_size, generator=torch.manual_seed(0))


def embeddings():
    """The base model's embedding layer."""
    source = BytesSource(save({"model.embed_tokens.weight": WORDS}))
    header = read_header(source)
    return [file_entries(source, header, header.entries)]


def with_layer(tensor):
    """A checkpoint with an embedding layer inside, by part name."""
    files = prompt_tuning_files()
    return files | {"adapter_model": save({**load(files["adapter_model"]), LAYER: tensor})}


@pytest.fixture
async def comparing(services):
    """A client of a server that can read its base model's embedding layer."""
    async with client_of(with_parts(services, base_embeddings=embeddings)) as http:
        yield http


async def test_the_base_models_own_layer_is_left_out_and_told(comparing):
    """What is downloaded again is the soft prompt alone. A plain upload's answer has no such field."""
    body = (await publish(comparing, **with_layer(WORDS))).json()
    note = f"left out {LAYER} (512 bytes): it is the base model's own"
    assert body["left_out"] == [{"name": LAYER, "num_bytes": 512, "note": note}]
    tensors = await comparing.get("/v1/tasks/sentiment/versions/1/adapter_model.safetensors")
    assert load(tensors.content).keys() == {"prompt_embeddings"}
    plain = await publish(comparing)
    assert (plain.status_code, "left_out" in plain.json(), plain.json()["digest"]) == (200, False, body["digest"])


@pytest.mark.parametrize(
    ("tensor", "code", "sentence"),
    [(WORDS * 1.1, "embedding_mismatch", "other values"), (WORDS[1:], "shape_mismatch", "another vocabulary")],
)
async def test_another_layer_is_refused(comparing, tensor, code, sentence):
    """PEFT would answer with it."""
    response = await publish(comparing, **with_layer(tensor))
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, code, "adapter_model")
    assert sentence in error["message"]


async def test_a_layer_that_cannot_be_compared_is_told(client):
    """The base model's files are not at hand."""
    (told,) = (await publish(client, **with_layer(WORDS))).json()["left_out"]
    assert told["note"].endswith("it was not compared with the base model's own")


@pytest.mark.parametrize(
    "odd",
    [
        dict.fromkeys(("token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules", "task_type")),
        {"auto_mapping": {"base_model_class": "X"}, "base_model_name_or_path": None, "modules_to_save": []},
        {"encoder_dropout": 0.1, "encoder_reparameterization_type": "MLP", "peft_type": "P_TUNING"},
        {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "x", "tokenizer_name_or_path": "y/z"},
    ],
)
async def test_an_odd_configuration_is_published(client, odd):
    """With a byte order mark before it too."""
    files = prompt_tuning_files(**odd)
    assert (await publish(client, **files)).status_code == 201
    files["adapter_config"] = b"\xef\xbb\xbf" + files["adapter_config"] + b"\n"
    assert (await publish(client, **files)).status_code == 200
    download = await client.get("/v1/tasks/sentiment/versions/1/adapter_config.json")
    assert download.json().items() >= odd.items()


async def test_what_is_too_large_is_refused_with_a_remedy(limited):
    """The command line sends it without the layer."""
    async with limited(max_tensor_bytes=300) as client:
        response = await publish(client, **with_layer(WORDS))
        assert response.status_code == 413
        assert "softprompt task publish" in error_of(response)["message"]


def test_a_folder_of_tasks_says_it_in_the_log(store, tmp_path, caplog):
    """At the start and on every change."""
    files = with_layer(WORDS)
    (tmp_path / "mood").mkdir()
    (tmp_path / "mood" / "adapter_config.json").write_bytes(files["adapter_config"])
    (tmp_path / "mood" / "adapter_model.safetensors").write_bytes(files["adapter_model"])
    with caplog.at_level(logging.INFO):
        published = publish_checkpoint(
            store, BASE, tmp_path / "mood", promote=True, actor="test", base_embeddings=embeddings
        )
    assert published.created
    assert f"task mood: left out {LAYER} (512 bytes): it is the base model's own" in caplog.messages
    assert json.loads(files["adapter_config"])["peft_type"] == "PROMPT_TUNING"
