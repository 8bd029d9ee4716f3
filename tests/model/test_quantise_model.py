"""`--weights`: which weights get fewer bits, what is refused by name, and a model that serves them."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.cpu.int8_weight import KIND, Int8Weight
from server.model.cpu.packing import JointLinear, PackedLinear
from server.model.cpu.quantise_model import FORMS, QuantisedEmbedding
from server.model.cpu.widened_weight import WidenedWeight
from server.model.encoder.loading import load_encoder
from server.model.encoder.proof import prove_encoder
from server.model.errors import BaseModelUnavailable, SelfProofFailed, UnsupportedArchitecture
from server.model.flat_batch import Chunk
from server.model.kv_cache import KVCache
from server.model.runner import ModelRunner
from server.model.self_proof import prove
from server.model.twin import make_twin
from tests.fakes.planted_faults import FAULTS
from tests.parity.architectures import build
from tests.parity.encoder_decoders import build_encoder_decoder
from tests.parity.encoders import ENCODERS, build_encoder

CPU = torch.device("cpu")
TEXT = tuple(range(3, 40))
WIDENED = ["bfloat16", "int8-weight-only"]


def load(folder, name="llama", form="int8", **options):
    build(name).save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device="cpu", weights=form, **options))


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def test_linear_layers_and_the_embedding_have_the_form(form, tmp_path):
    """A tied head shares the embedding's numbers; norms stay as they are."""
    model = load(tmp_path, form=form).model
    linears = [module for module in model.modules() if isinstance(module, (PackedLinear, JointLinear))]
    wholes = [one.joint.whole if isinstance(one, JointLinear) else one for one in linears]
    assert all(isinstance(one.packed, Int8Weight if form == "int8" else WidenedWeight) for one in wholes)
    assert isinstance(model.get_input_embeddings(), QuantisedEmbedding)
    assert {parameter.dim() for parameter in model.parameters()} == {1}


def test_a_tied_head_shares_the_numbers_of_the_embedding(form, tmp_path):
    """Also in the twin, which never copies a weight."""
    model = load(tmp_path, "gpt2", form).model
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert embedding.packed is head.packed
    twin = make_twin(model)
    assert twin.get_input_embeddings().packed is twin.get_output_embeddings().packed is head.packed
    assert copy.deepcopy(embedding).packed is embedding.packed


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "qwen3-wide", "bloom"])
def test_the_proof_holds(name, tmp_path):
    """In float32 with the dequantised weights, and as it serves, where rounding costs what the stock model's costs."""
    loaded = load(tmp_path, name)
    proof = prove(loaded, choose_backend(CPU), text=TEXT)
    assert (loaded.weights, loaded.dtype) == ("int8", torch.float32)
    assert proof.disagreement < 1e-4
    assert 0 < proof.rounding.served < 1.3 * proof.rounding.stock < 0.1


@pytest.mark.parametrize("weights", WIDENED)
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "qwen3-wide", "bloom"])
def test_widened_weights_are_proved_as_float32_is(name, weights, tmp_path):
    """As they serve, beside the stock model over float32 copies of their numbers: no row is rounded."""
    loaded = load(tmp_path, name, weights)
    proof = prove(loaded, choose_backend(CPU), text=TEXT)
    assert (loaded.weights, loaded.dtype) == (weights, torch.float32)
    assert proof.rounding is None and proof.disagreement < 1e-4


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_bfloat16_checkpoint_has_the_logits_of_float32(name, tmp_path):
    """Bfloat16 weights hold its numbers exactly: transformers' float32 model of the same files is the reference."""
    build(name).bfloat16().save_pretrained(str(tmp_path))
    stock = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32)
    served = make_twin(load_base_model(BaseModelOptions(str(tmp_path), device="cpu", weights="bfloat16")).model)
    ids = torch.tensor([TEXT])
    with torch.inference_mode():
        expected, actual = stock(ids).logits, served(ids).logits
    assert float((actual - expected).abs().max() / expected.std()) < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_weight_only_int8_has_the_logits_of_its_numbers(name, tmp_path):
    """Transformers' float32 model over the dequantised weights: a token's logits depend on weights alone."""
    model = load(tmp_path, name, "int8-weight-only").model
    stock = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32)
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (PackedLinear, JointLinear, QuantisedEmbedding)):
            original = stock.get_submodule(name)
            original.weight.data = module.weight.t() if isinstance(original, Conv1D) else module.weight
    ids = torch.tensor([TEXT])
    with torch.inference_mode():
        expected, actual = stock(ids).logits, make_twin(model)(ids).logits
    assert float((actual - expected).abs().max() / expected.std()) < 1e-5


@pytest.mark.parametrize("weights", WIDENED)
def test_encoders_of_widened_weights_are_proved(weights, tmp_path):
    """As float32 is."""
    build_encoder(ENCODERS["bert"]()).save_pretrained(str(tmp_path))
    loaded = load_encoder(BaseModelOptions(str(tmp_path), device="cpu", weights=weights))
    proof = prove_encoder(loaded)
    assert loaded.weights == weights and proof.rounding is None and proof.disagreement < 1e-4


def test_an_encoder_decoder_of_bfloat16_is_proved(tmp_path):
    """Both stacks share the embedding."""
    build_encoder_decoder("t5").save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device="cpu", weights="bfloat16"))
    assert prove(loaded, choose_backend(CPU), text=TEXT).disagreement < 1e-4


@pytest.mark.parametrize("name", ["bert", "deberta-v2"])
def test_encoders_are_proved_alike(name, tmp_path):
    """Their parts are fused over int8 layers too."""
    build_encoder(ENCODERS[name]()).save_pretrained(str(tmp_path))
    loaded = load_encoder(BaseModelOptions(str(tmp_path), device="cpu", weights="int8"))
    proof = prove_encoder(loaded)
    assert (loaded.weights, isinstance(loaded.model.get_input_embeddings(), QuantisedEmbedding)) == ("int8", True)
    assert proof.disagreement < 1e-4 and proof.rounding.served < 1.3 * proof.rounding.stock < 0.1


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_decoders_are_proved_alike(name, tmp_path):
    """An encoder and a decoder share the quantised embedding, where it is a plain look-up."""
    build_encoder_decoder(name).save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device="cpu", weights="int8"))
    proof = prove(loaded, choose_backend(CPU), text=TEXT)
    assert proof.disagreement < 1e-3 and proof.rounding.served < 1.3 * proof.rounding.stock < 0.2
    stacks = (loaded.model.get_encoder(), loaded.model.get_decoder())
    assert {isinstance(stack.embed_tokens, QuantisedEmbedding) for stack in stacks} == {name == "t5"}


@pytest.mark.parametrize("weights", ["int8", "bfloat16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, weights, tmp_path):
    """The rounding of activations hides none, since the logic is proved without it."""
    loaded = load(tmp_path, form=weights)
    with FAULTS[fault](choose_backend(CPU)) as faulty, pytest.raises(SelfProofFailed, match="the paged path and the"):
        prove(loaded, faulty, 0, TEXT)


def test_a_fault_of_the_served_layers_is_found(tmp_path):
    """One layer that serves other numbers than the stock model's."""
    loaded = load(tmp_path)
    served = loaded.model.model.layers[1]
    forward = served.forward
    served.forward = lambda *arguments, **named: forward(*arguments, **named).flip(2)
    with pytest.raises(SelfProofFailed, match="cannot be served in int8: the paged path agrees"):
        prove(loaded, choose_backend(CPU), 0, TEXT)


@pytest.mark.parametrize("weights", WIDENED)
def test_a_wrong_number_of_a_widened_layer_is_found(weights, tmp_path):
    """The reference multiplies float32 copies by PyTorch, so it does not share a fault of the kernel."""
    loaded = load(tmp_path, form=weights)
    served = loaded.model.model.layers[1].mlp.down_proj
    multiply = served.forward
    served.forward = served.plus = lambda *rows: multiply(rows[0]).roll(1, -1) + (rows[1] if len(rows) > 1 else 0)
    with pytest.raises(SelfProofFailed, match="disagree by"):
        prove(loaded, choose_backend(CPU), 0, TEXT)


@pytest.mark.skipif(not KIND, reason="PyTorch adds up in an order that depends on the number of rows")
def test_a_prompt_in_other_chunks_has_the_same_logits(form, tmp_path):
    """Bit for bit, short and long chunks, across the position where attention changes its way."""
    loaded = load(tmp_path, "llama-wide", form)
    tokens = tuple(number % 60 for number in range(90))
    found = []
    for lengths in ((90,), (20, 70), (63, 2, 25), (80, 10)):
        runner = ModelRunner(loaded, KVCache(loaded.architecture.layers, 8, 16, loaded.dtype, CPU), choose_backend(CPU))
        start = 0
        for length in lengths:
            part = tokens[start : start + length]
            logits = runner.forward([Chunk(part, start, tuple(range(1, 7)), length - 1)])
            start += length
        found.append(logits)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"dtype": "float16"}])
def test_another_dtype_is_refused(options, form, tmp_path):
    """All else is float32."""
    with pytest.raises(BaseModelUnavailable, match=f"--weights {form} .* leave --dtype out"):
        load(tmp_path, form=form, **options)


def test_a_gpu_is_refused(form, tmp_path, monkeypatch):
    """By the name of the option."""
    monkeypatch.setattr("server.model.base_model.choose_device", lambda _: torch.device("cuda:0"))
    with pytest.raises(BaseModelUnavailable, match=f"--weights {form} is for a CPU, and the device is cuda:0"):
        load(tmp_path, form=form)


def test_matrices_of_another_kind_are_refused(form, tmp_path):
    """Routed experts are no linear layers: they would stay float32 without a word."""
    with pytest.raises(UnsupportedArchitecture, match=rf"^mixtral .* --weights {form}: \S+ is no weight of a linear"):
        load(tmp_path, "mixtral", form)
