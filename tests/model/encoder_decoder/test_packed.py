"""Encoder-decoders wide enough to be packed for a CPU."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, T5Config

from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.cpu.packing import JointLinear, PackedLinear
from server.model.encoder_decoder.feed_forward import FeedForward
from server.model.errors import SelfProofFailed
from server.model.self_proof import prove
from tests.parity.architectures import build_from
from tests.parity.encoder_decoders import BART_SIZES, T5_SIZES

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.mark.parametrize("projection", ["relu", "gated-gelu"])
def test_a_packed_t5_is_proved(projection, tmp_path):
    """Its output projection is never unpacked in a step. A broken copy of the layer is refused."""
    config = T5Config(**T5_SIZES | {"d_model": 256, "d_kv": 64, "d_ff": 512}, feed_forward_proj=projection)
    build_from(config, AutoModelForSeq2SeqLM).save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))
    layers = [module for module in loaded.model.modules() if hasattr(module, "wo")]
    assert len(layers) == 4
    for layer in layers:
        assert isinstance(layer.wo, PackedLinear)
        assert isinstance(layer.forward, FeedForward)
    prove(loaded, choose_backend(loaded.device))
    for broken in (lambda own, hidden: own(hidden) * 1.2, lambda own, hidden: own(hidden.roll(1, 1))):
        layer = layers[-1]
        own = layer.forward
        layer.forward = partial(broken, own)
        with pytest.raises(SelfProofFailed, match="the paged path and the stock model disagree"):
            prove(loaded, choose_backend(loaded.device))
        layer.forward = own


def test_a_packed_bart_is_proved(tmp_path):
    """Query, key and value of self-attention are one product; those of cross-attention read different rows."""
    config = BartConfig(**BART_SIZES | {"d_model": 256, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512})
    build_from(config, AutoModelForSeq2SeqLM).save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device="cpu"))
    for layer in loaded.model.get_decoder().layers:
        assert isinstance(layer.self_attn.k_proj, JointLinear)
        assert isinstance(layer.encoder_attn.k_proj, PackedLinear)
    assert prove(loaded, choose_backend(loaded.device)).disagreement < 1e-4
