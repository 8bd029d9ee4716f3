"""Which models are served, and that the others are refused with a reason."""

from __future__ import annotations

import json

import pytest
from transformers import (
    BloomConfig,
    FalconConfig,
    GPTJConfig,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    Phi3Config,
    StableLmConfig,
    T5Config,
)

from server.model.base_model import BaseModelOptions, load_base_model, load_skeleton
from server.model.errors import BaseModelUnavailable, UnsupportedArchitecture
from tests.parity.architectures import CONFIGS, MAX_CONTEXT, build

TINY = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}

REFUSED = {
    "stablelm": StableLmConfig(**TINY, intermediate_size=48, num_key_value_heads=4),
    "gptj": GPTJConfig(vocab_size=61, n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
    "bloom": BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4),
    "falcon": FalconConfig(**TINY),
    "t5": T5Config(vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
    "llama4_text": Llama4TextConfig(**TINY, intermediate_size=48, num_key_value_heads=2),
    "mamba": MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2),
}


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_served_exactly_is_refused_by_name(model_type, tmp_path):
    """Before any weight is read: the folder holds a configuration only."""
    REFUSED[model_type].save_pretrained(str(tmp_path))
    options = BaseModelOptions(str(tmp_path), device="cpu", max_context=64)
    with pytest.raises((UnsupportedArchitecture, BaseModelUnavailable), match=model_type):
        load_skeleton(options)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_skeleton_tells_what_the_loaded_model_does(name, tmp_path):
    """Reading a configuration on the meta device gives the same numbers as loading the weights."""
    build(name).save_pretrained(str(tmp_path))
    options = BaseModelOptions(str(tmp_path), device="cpu")
    loaded = load_base_model(options)
    assert load_skeleton(options) == loaded.architecture
    assert loaded.architecture.max_context == MAX_CONTEXT
    assert not any(parameter.requires_grad or parameter.is_inference() for parameter in loaded.model.parameters())


def test_longrope_is_served_up_to_where_it_depends_on_neighbours(tmp_path):
    """Past the original length one long neighbour would change everybody's frequencies."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 40,
    }
    config = Phi3Config(
        **TINY,
        intermediate_size=48,
        num_key_value_heads=2,
        max_position_embeddings=512,
        original_max_position_embeddings=40,
        rope_parameters=rope,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    config.save_pretrained(str(tmp_path))
    assert load_skeleton(BaseModelOptions(str(tmp_path), device="cpu")).max_context == 40


def test_max_context_lowers_the_limit_and_never_raises_it(tmp_path):
    LlamaConfig(**TINY, intermediate_size=48, max_position_embeddings=96).save_pretrained(str(tmp_path))
    for wanted, expected in ((50, 50), (1000, 96), (None, 96)):
        options = BaseModelOptions(str(tmp_path), device="cpu", max_context=wanted)
        assert load_skeleton(options).max_context == expected


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(BaseModelUnavailable, match="holds no usable model"):
        load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))


@pytest.mark.parametrize("source", ["/no/such/folder", "./none", "~/none"])
def test_a_path_without_a_folder_is_no_hub_id(source):
    with pytest.raises(BaseModelUnavailable, match="there is no folder"):
        load_base_model(BaseModelOptions(source, device="cpu"))


def test_a_configuration_without_weights_is_said(tmp_path):
    LlamaConfig(**TINY, intermediate_size=48).save_pretrained(str(tmp_path))
    with pytest.raises(BaseModelUnavailable, match="weights"):
        load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))


def test_broken_weights_are_said(tmp_path):
    """A file cut in half is no reason for a stack trace."""
    build("llama").save_pretrained(str(tmp_path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BaseModelUnavailable):
        load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"intermediate_size": 64}])
def test_weights_that_do_not_fill_the_model_are_said(change, tmp_path):
    """transformers would make up what is missing, and the server would answer noise."""
    build("llama").save_pretrained(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(BaseModelUnavailable, match="weights"):
        load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))
