"""Which models are served, and that the others are refused with a reason."""

from __future__ import annotations

import json

import pytest
from transformers import (
    Llama4TextConfig,
    LlamaConfig,
    LongT5Config,
    MambaConfig,
    MarianConfig,
    Phi3Config,
    PhimoeConfig,
    WhisperConfig,
)

from server.model.base_model import BaseModelOptions, load_base_model, load_skeleton
from server.model.errors import BaseModelUnavailable, UnsupportedArchitecture
from tests.parity.architectures import CONFIGS, MAX_CONTEXT, build

TINY = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}

REFUSED = {
    "longt5": LongT5Config(vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
    "marian": MarianConfig(vocab_size=61, decoder_vocab_size=59, d_model=32, share_encoder_decoder_embeddings=False),
    "llama4_text": Llama4TextConfig(**TINY, intermediate_size=48, num_key_value_heads=2),
    "mamba": MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2),
    "whisper": WhisperConfig(
        vocab_size=61, d_model=32, decoder_attention_heads=4, is_encoder_decoder=False, pad_token_id=0
    ),
}


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_served_exactly_is_refused_by_name(model_type, tmp_path):
    """Before any weight is read: the folder holds a configuration only."""
    REFUSED[model_type].save_pretrained(str(tmp_path))
    options = BaseModelOptions(str(tmp_path), device="cpu", max_context=64)
    with pytest.raises((UnsupportedArchitecture, BaseModelUnavailable), match=model_type):
        load_skeleton(options)


@pytest.mark.parametrize("max_context", [None, 64])
def test_a_model_that_ignores_which_logits_are_asked_for_is_refused(max_context, tmp_path):
    """A step asks for the last row of each sequence: the first rows would be taken for them."""
    REFUSED["whisper"].save_pretrained(str(tmp_path))
    with pytest.raises(UnsupportedArchitecture, match="whisper models cannot be served: they compute the logits of ev"):
        load_skeleton(BaseModelOptions(str(tmp_path), device="cpu", max_context=max_context))


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


def test_a_window_that_attention_never_hears_of_is_the_longest_context(tmp_path):
    """Phi-3.5-MoE has its window in the mask alone, which is not built here."""
    PhimoeConfig(
        **TINY, intermediate_size=48, num_key_value_heads=2, num_local_experts=2, sliding_window=40,
        max_position_embeddings=96,
    ).save_pretrained(str(tmp_path))  # fmt: skip
    assert load_skeleton(BaseModelOptions(str(tmp_path), device="cpu")).max_context == 40


def test_max_context_lowers_the_limit_and_never_raises_it(tmp_path):
    LlamaConfig(**TINY, intermediate_size=48, max_position_embeddings=96).save_pretrained(str(tmp_path))
    for wanted, expected in ((50, 50), (1000, 96), (None, 96)):
        options = BaseModelOptions(str(tmp_path), device="cpu", max_context=wanted)
        assert load_skeleton(options).max_context == expected


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(BaseModelUnavailable, match=r"holds no config\.json"):
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
