"""The start-up self-proof and the twin that it leans on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from server.model import float32_view
from server.model.architecture import read_architecture
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.errors import SelfProofFailed
from server.model.float32_view import compute_in_float32
from server.model.self_proof import prove
from server.model.twin import make_twin
from tests.devices import DEVICE, NAME
from tests.fakes.deep_model import build_deep
from tests.fakes.planted_faults import FAULTS, WINDOW_FAULTS, only_in_half_precision
from tests.parity.architectures import VOCAB_SIZE, build


def load(folder, name="llama", dtype="float32"):
    build(name).save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype=dtype))


DTYPES = ["float32", "float16", "bfloat16"]
TEXT = tuple(range(3, 40))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "llama-wide", "qwen3-wide"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_proof_holds_in_every_dtype(name, dtype, tmp_path):
    """Float32 agrees to rounding whatever is served; half precision rounds as the stock model does."""
    proof = prove(load(tmp_path, name, dtype), choose_backend(DEVICE), text=TEXT)
    assert proof.disagreement < 1e-4
    if dtype == "float32":
        assert proof.rounding is None
    else:
        assert 0 < proof.rounding.served < 1.3 * proof.rounding.stock


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Thirty layers with outliers, as a folder."""
    folder = tmp_path_factory.mktemp("deep")
    build_deep().save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_deep_model_with_outliers_is_proved(deep, dtype):
    """What rounding costs it over thirty layers is the stock model's own."""
    loaded = load_base_model(BaseModelOptions(str(deep), device=NAME, dtype=dtype))
    for seed in range(2):
        assert prove(loaded, choose_backend(DEVICE), seed, TEXT).disagreement < 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_in_every_dtype(tmp_path, fault, dtype):
    """Float32 finds it for each seed, whatever dtype serves."""
    loaded = load(tmp_path, dtype=dtype)
    for seed in range(3):
        with (
            FAULTS[fault](choose_backend(DEVICE)) as faulty,
            pytest.raises(SelfProofFailed, match="llama models cannot be served: the paged path and the stock model"),
        ):
            prove(loaded, faulty, seed, TEXT)


LONG_WINDOWS = ["mistral", "gemma2", "gemma3", "starcoder2", "cohere2", "mistral-wide", "mixtral", "gpt-oss"]


def load_with_window(folder, name, dtype="float32"):
    """A base whose windows no sequence of the proof crosses."""
    build(name).save_pretrained(str(folder))
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sliding_window": 64}))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype=dtype))


@pytest.mark.parametrize("fault", WINDOW_FAULTS)
@pytest.mark.parametrize("name", LONG_WINDOWS)
def test_a_fault_of_a_long_window_is_found(tmp_path, name, fault):
    """Its sequences are shorter than the window, so the proof narrows it."""
    loaded = load_with_window(tmp_path, name)
    before = [layer.sliding_window for layer in loaded.architecture.layers]
    assert prove(loaded, choose_backend(DEVICE), text=TEXT).disagreement < 1e-4
    with (
        WINDOW_FAULTS[fault](choose_backend(DEVICE)) as faulty,
        pytest.raises(SelfProofFailed, match="with sliding windows of 7 positions: the paged path and the stock model"),
    ):
        prove(loaded, faulty, text=TEXT)
    assert 64 in before and before == [layer.sliding_window for layer in read_architecture(loaded.model).layers]


def test_a_fault_of_a_long_window_is_found_in_half_precision(tmp_path):
    """In float32, as all logic is."""
    loaded = load_with_window(tmp_path, "gemma3", "bfloat16")
    prove(loaded, choose_backend(DEVICE), text=TEXT)
    with (
        WINDOW_FAULTS["no_window"](choose_backend(DEVICE)) as faulty,
        pytest.raises(SelfProofFailed, match="with sliding windows of 7 positions"),
    ):
        prove(loaded, faulty, text=TEXT)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("fault", ["wrong_scale", "swapped_heads", "narrow_window"])
def test_a_fault_of_half_precision_alone_is_found(tmp_path, fault, dtype):
    """A kernel may be right in float32 and wrong in another dtype."""
    loaded = load(tmp_path, dtype=dtype)
    for seed in range(3):
        with (
            only_in_half_precision(FAULTS[fault], choose_backend(DEVICE)) as faulty,
            pytest.raises(SelfProofFailed, match=f"cannot be served in {dtype}: .* not as it serves"),
        ):
            prove(loaded, faulty, seed, TEXT)


def test_two_wrong_rows_are_found(tmp_path):
    """The token of the last sequence is another one in both decode steps, and in half precision only."""
    loaded = load(tmp_path, dtype="bfloat16")
    backend = choose_backend(DEVICE)

    def attention(kv_cache, batch):
        if kv_cache.keys[0].dtype != torch.float32 and not batch.prefills:
            batch.token_ids[-1] += 1
        return backend(kv_cache, batch)

    with pytest.raises(SelfProofFailed, match="a row is off by"):
        prove(loaded, attention)


def test_weights_that_only_half_precision_overflows_are_named(tmp_path):
    """Float32 computes them: the message says which dtype does not, and what to try."""
    model = build("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(4e4)
    model.save_pretrained(str(tmp_path))
    options = BaseModelOptions(str(tmp_path), device=NAME, dtype="float16")
    with pytest.raises(SelfProofFailed, match=r"cannot be served in float16.*try --dtype float32 or bfloat16"):
        prove(load_base_model(options), choose_backend(DEVICE))
    prove(load_base_model(replace(options, dtype="bfloat16")), choose_backend(DEVICE))


@pytest.mark.parametrize("block", [float32_view._BLOCK_WEIGHTS, 1000])
@pytest.mark.parametrize("name", ["llama-wide", "llama"])
def test_the_float32_view_leaves_the_weights_alone(tmp_path, monkeypatch, name, block):
    """After a pass the twin holds the half-precision tensors again, and the served tree never held others.

    With packed layers and without, and with layers that are widened in several blocks.
    """
    monkeypatch.setattr(float32_view, "_BLOCK_WEIGHTS", block)
    loaded = load(tmp_path, name, "bfloat16")
    twin = make_twin(loaded.model)
    before = {name: tensor.data_ptr() for name, tensor in loaded.model.named_parameters()}
    compute_in_float32(twin)
    tokens = torch.arange(20, device=DEVICE)[None]
    reference = build(name).to(DEVICE)
    with torch.inference_mode():
        for parameter in reference.parameters():
            parameter.copy_(parameter.to(torch.bfloat16))
        wide = twin(input_ids=tokens, use_cache=False).logits
        stock = make_twin(loaded.model)(input_ids=tokens, use_cache=False).logits
        exact = reference(input_ids=tokens, use_cache=False).logits
    assert wide.dtype == torch.float32 and stock.dtype == torch.bfloat16
    assert torch.allclose(wide, exact, atol=1e-4 * float(exact.std()), rtol=0)
    assert all(parameter.dtype == torch.bfloat16 for parameter in twin.parameters())
    assert {name: tensor.data_ptr() for name, tensor in loaded.model.named_parameters()} == before


def test_not_a_number_is_never_agreement(tmp_path):
    """A comparison with NaN refuses the model."""
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
    assert prove(loaded, choose_backend(DEVICE)).disagreement < 1e-4
