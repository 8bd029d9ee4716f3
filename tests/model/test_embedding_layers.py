"""The embedding layers of a base model are found in its files, in one file or in shards."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from server.model.embedding_layers import embedding_layers


@pytest.fixture(scope="module")
def model():
    """A tiny Llama, whose output layer is its own."""
    config = LlamaConfig(vocab_size=24, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    return LlamaForCausalLM(config)


def layers_of(folder):
    """The layers by name, as tensors."""
    return {
        entry.name: torch.frombuffer(bytearray(file.source.read(entry.begin, entry.end)), dtype=torch.float32)
        for file in embedding_layers(str(folder), None)
        for entry in file.entries
    }


@pytest.mark.parametrize("max_shard_size", ["1GB", "1KB"])
def test_the_layers_are_found(model, tmp_path, max_shard_size):
    """In one file, or in many."""
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    found = layers_of(tmp_path)
    assert found.keys() == {"model.embed_tokens.weight", "lm_head.weight"}
    assert torch.equal(found["lm_head.weight"], model.lm_head.weight.detach().flatten())


def test_what_cannot_be_read_has_none(model, tmp_path):
    """No folder, a damaged file, a pickle."""
    assert embedding_layers(str(tmp_path / "none"), None) == ()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"damaged")
    assert embedding_layers(str(tmp_path), None) == ()
    file.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert list(embedding_layers(str(tmp_path), None)) == []


def test_a_model_without_embeddings_has_none(model, tmp_path):
    """Its files are read all the same."""
    model.config.save_pretrained(tmp_path)
    save_file({"model.norm.weight": torch.zeros(8)}, tmp_path / "model.safetensors")
    assert layers_of(tmp_path) == {}
