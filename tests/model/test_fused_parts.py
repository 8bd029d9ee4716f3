"""The fused parts of encoder layers: which are fused, and that they give the numbers of the originals."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig

from server.model.cpu.fused_parts import fuse_parts
from server.model.cpu.pack_model import pack_linears
from tests.parity.encoders import ENCODERS, build_encoder

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")

WIDE = {"vocab_size": 61, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}


def packed(config):
    model = build_encoder(config).requires_grad_(False)
    pack_linears(model)
    return model


@pytest.mark.parametrize("name", ["bert-wide", "deberta-v2-wide"])
def test_three_parts_of_a_layer_are_fused(name):
    """The output of attention and both halves of the feed-forward network; the numbers stay what they were."""
    model = packed(ENCODERS[name]())
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        expected = model(input_ids=ids).last_hidden_state
        assert fuse_parts(model) == 6
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "silu"])
def test_another_activation_is_left_as_it_is(activation):
    """Only GELU by the error function has a kernel here; the sums are fused all the same."""
    assert fuse_parts(packed(BertConfig(**WIDE, num_attention_heads=4, hidden_act=activation))) == 4


def test_nothing_is_fused_without_packed_layers():
    """On a GPU, and where layers are too small to be packed."""
    assert fuse_parts(build_encoder(ENCODERS["bert-wide"]())) == 0
