"""The start-up self-proof and the twin that it leans on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from server.model import paged_attention
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.errors import SelfProofFailed
from server.model.self_proof import prove
from server.model.twin import make_twin
from tests.devices import DEVICE, NAME
from tests.parity.architectures import VOCAB_SIZE, build


def load(folder, name="llama", dtype="float32"):
    build(name).save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype=dtype))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_proof_holds_in_every_dtype(name, dtype, tmp_path):
    assert (
        prove(load(tmp_path, name, dtype), choose_backend(DEVICE))
        < {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}[dtype]
    )


@pytest.mark.parametrize("window", [1, 5])
def test_a_wrong_window_is_found(tmp_path, monkeypatch, window):
    """Attention that sees less than it should is refused at start."""
    loaded = load(tmp_path)
    visible = paged_attention._visible
    monkeypatch.setattr(paged_attention, "_visible", lambda positions, slots, _: visible(positions, slots, window))
    with pytest.raises(SelfProofFailed, match="llama models cannot be served"):
        prove(loaded, choose_backend(DEVICE))


def test_a_wrong_scale_is_found(tmp_path, monkeypatch):
    loaded = load(tmp_path)
    attention = paged_attention._attention
    monkeypatch.setattr(
        paged_attention,
        "_attention",
        lambda query, key, value, mask, call: attention(query, key, value, mask, replace(call, scaling=1.0)),
    )
    with pytest.raises(SelfProofFailed):
        prove(loaded, choose_backend(DEVICE))


def test_not_a_number_is_never_agreement(tmp_path):
    loaded = load(tmp_path)
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(SelfProofFailed):
        prove(loaded, choose_backend(DEVICE))


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "qwen2"])
def test_the_twin_shares_every_parameter_and_answers_as_the_original(name, tmp_path):
    """No weight memory, and logits equal to the bit."""
    loaded = load(tmp_path, name)
    twin = make_twin(loaded.model)
    ours = dict(loaded.model.named_parameters())
    assert all(parameter is ours[key] for key, parameter in twin.named_parameters())
    assert not any(tensor.is_meta for tensor in (*twin.parameters(), *twin.buffers()))
    tokens = torch.arange(20)[None] % VOCAB_SIZE
    with torch.inference_mode():
        expected = build(name)(input_ids=tokens, use_cache=False).logits
        assert torch.equal(twin(input_ids=tokens, use_cache=False).logits, expected)


def test_training_through_the_twin_leaves_the_served_tree_alone(tmp_path):
    """Gradients reach a soft prompt; the serving tree keeps its mode, its weights and its proof."""
    loaded = load(tmp_path)
    before = {name: parameter.clone() for name, parameter in loaded.model.named_parameters()}
    twin = make_twin(loaded.model).train()
    prompt = torch.randn(1, 4, 32, requires_grad=True)
    embeds = torch.cat([prompt, twin.get_input_embeddings()(torch.tensor([[1, 2, 3]]))], dim=1)
    twin(inputs_embeds=embeds, use_cache=False).logits.logsumexp(-1).sum().backward()
    assert prompt.grad is not None and bool(prompt.grad.abs().sum() > 0)
    assert not loaded.model.training
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in loaded.model.named_parameters())
    assert prove(loaded, choose_backend(DEVICE)) < 1e-4
