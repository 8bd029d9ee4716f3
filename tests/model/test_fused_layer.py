"""Fused decoder layers: the same numbers in fewer calls, where the architecture allows it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    Ministral3Config,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from server.model.attention import ATTENTION_NAME, attending, register_attention
from server.model.cpu import attention as cpu_attention
from server.model.cpu.fused_layer import RMSNorm, fuse_layers
from server.model.cpu.pack_model import pack_linears
from server.model.twin import make_twin
from tests.devices import IS_CPU

pytestmark = pytest.mark.skipif(not (IS_CPU and cpu_attention.is_built()), reason="no C module")

NUM_LAYERS = 2
_SIZES: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 192,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 61,
    "pad_token_id": None,
}
FUSED: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "llama with biases": lambda: LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True),
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=3),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen3": lambda: Qwen3Config(**_SIZES, head_dim=64),
}
NOT_FUSED: dict[str, Callable[[], PreTrainedConfig]] = {
    "another activation": lambda: LlamaConfig(**_SIZES, hidden_act="gelu"),
    "queries that are scaled from a far position on": lambda: Ministral3Config(**_SIZES, head_dim=64),
    "residuals that are scaled": lambda: GraniteConfig(**_SIZES, residual_multiplier=0.5),
    "norms before and after": lambda: Gemma2Config(**_SIZES, head_dim=64),
    "another kind of layer": lambda: GPT2Config(n_embd=256, n_layer=NUM_LAYERS, n_head=4, vocab_size=61),
    "weights too small to be packed": lambda: LlamaConfig(**{**_SIZES, "hidden_size": 64, "head_dim": 8}),
}


class Attends:
    """Each token's head sees the mean of all keys, plus its own query and value: every input shows in the output."""

    def attend(self, call: Any) -> torch.Tensor:
        groups = call.query.shape[0] // call.key.shape[0]
        seen = (call.key.mean(dim=1, keepdim=True) + call.value).repeat_interleave(groups, dim=0)
        return ((seen + call.query) * call.scaling).transpose(0, 1)


def build(config: PreTrainedConfig) -> PreTrainedModel:
    """A packed model with every parameter random, biases and norms among them."""
    register_attention()
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation=ATTENTION_NAME
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(mean=float(parameter.dim() == 1), std=0.05)
    model.requires_grad_(False).train(False)
    pack_linears(model)
    return model


def logits(model: PreTrainedModel) -> torch.Tensor:
    """`[7, vocab_size]` for a flat batch of two sequences."""
    embeds = torch.randn(1, 7, model.config.hidden_size, generator=torch.Generator().manual_seed(3))
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2]])
    with torch.inference_mode(), attending(Attends()):
        found: torch.Tensor = model(inputs_embeds=embeds, position_ids=positions, use_cache=False).logits[0]
    return found


@pytest.mark.parametrize("name", FUSED)
def test_fused_layers_give_the_models_own_numbers(name):
    """Biases, head norms and rotations included."""
    model = build(FUSED[name]())
    expected = logits(model)
    assert fuse_layers(model) == NUM_LAYERS
    assert isinstance(model.model.norm.forward, RMSNorm)
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NOT_FUSED)
def test_other_layers_stay_as_they_are(name):
    """A layer with other parts, and one with the same parts that computes something else."""
    model = build(NOT_FUSED[name]())
    expected = logits(model)
    assert fuse_layers(model) == 0
    assert torch.equal(logits(model), expected)


def test_the_twin_is_not_fused_and_learns():
    """Tuning runs through the stock layers over the same weights, gradients included."""
    model = build(FUSED["llama"]())
    stock = make_twin(model)
    fuse_layers(model)
    twin = make_twin(model)
    embeds = torch.randn(1, 5, 512)
    gradients = []
    for each in (stock, twin):
        rows = embeds.clone().requires_grad_()
        each(inputs_embeds=rows).logits.square().sum().backward()
        gradients.append(rows.grad)
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize("threads", [1, 2])
def test_rms_norm_follows_its_definition(threads):
    """Rows of any leading shape, also enough of them for threads to share."""
    norm = torch.nn.RMSNorm(96, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    torch.set_num_threads(threads)
    try:
        for shape in [(0, 96), (96,), (1, 3, 96), (500, 96)]:
            rows = torch.randn(shape)
            torch.testing.assert_close(RMSNorm(norm)(rows), norm(rows).detach(), rtol=1e-5, atol=1e-6)
    finally:
        torch.set_num_threads(1)
