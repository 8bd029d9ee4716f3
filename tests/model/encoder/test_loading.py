"""Which base models are encoders, and what is loaded of them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, GPT2Config, T5Config

from server.model.base_model import BaseModelOptions
from server.model.encoder.architecture import takes_key_values
from server.model.encoder.kind import is_encoder
from server.model.encoder.loading import load_encoder
from server.model.encoder.proof import prove_encoder
from server.model.errors import BaseModelUnavailable
from tests.parity.encoders import ENCODERS, REFUSED, build_encoder


@pytest.mark.parametrize("name", [*ENCODERS, *REFUSED])
def test_a_type_with_a_masked_language_model_is_an_encoder(name):
    """Served or not: a refusal names the architecture as an encoder."""
    assert is_encoder((ENCODERS | REFUSED)[name]())


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(),
        T5Config(),
        BertConfig(is_decoder=True),
        BertConfig(architectures=["BertLMHeadModel"]),
    ],
    ids=["gpt2", "t5", "a decoder", "saved as a writer"],
)
def test_a_model_that_writes_is_none(config):
    """BERT can be built as a decoder too."""
    assert not is_encoder(config)


def test_a_masked_language_model_has_no_pooler(tmp_path):
    """Its files lack the pooler, on which no hidden state depends."""
    build_encoder(ENCODERS["bert"](), AutoModelForMaskedLM).save_pretrained(tmp_path)
    loaded = load_encoder(BaseModelOptions(str(tmp_path), device="cpu"))
    assert loaded.model.pooler is None
    prove_encoder(loaded)


def test_the_backbone_of_a_classifier_is_loaded(tmp_path):
    """With its pooler; the classifier belongs to a task."""
    build_encoder(ENCODERS["bert"](), AutoModelForSequenceClassification).save_pretrained(tmp_path)
    loaded = load_encoder(BaseModelOptions(str(tmp_path), device="cpu"))
    assert type(loaded.model).__name__ == "BertModel"
    assert loaded.model.pooler is not None


def test_files_without_a_weight_are_refused(tmp_path):
    """transformers would fill it with random numbers."""
    build_encoder(ENCODERS["bert"]()).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelUnavailable, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        load_encoder(BaseModelOptions(str(tmp_path), device="cpu"))


@pytest.mark.parametrize(("name", "positions"), [("bert", 96), ("roberta", 94), ("distilbert", 96)])
def test_the_context_is_what_has_positions(name, positions, tmp_path):
    """RoBERTa's first positions, up to that of padding, are no text's."""
    build_encoder(ENCODERS[name]()).save_pretrained(tmp_path)
    assert load_encoder(BaseModelOptions(str(tmp_path), device="cpu")).architecture.max_context == positions
    lowered = BaseModelOptions(str(tmp_path), device="cpu", max_context=40)
    assert load_encoder(lowered).architecture.max_context == 40


def test_only_some_families_take_keys_and_values(tmp_path):
    """PEFT asks the same way, and cannot run PREFIX_TUNING on the others."""
    taken = {name for name, config in ENCODERS.items() if takes_key_values(build_encoder(config()))}
    assert taken == {"bert", "bert-wide", "roberta", "xlm-roberta", "camembert", "electra", "electra-narrow"}


def test_linear_layers_are_packed_on_a_cpu(tmp_path):
    """The three projections of a layer as one."""
    build_encoder(ENCODERS["bert-wide"]()).save_pretrained(tmp_path)
    model = load_encoder(BaseModelOptions(str(tmp_path), device="cpu")).model
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    assert type(model.encoder.layer[0].attention.self.query).__name__ == "JointLinear"
    assert type(model.encoder.layer[0].output.dense).__name__ == "PackedLinear"
