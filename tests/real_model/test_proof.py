"""The proof at start on a real model, in every dtype: it holds for every seed, and finds every planted fault."""

from __future__ import annotations

import pytest
import torch

from server.base_model_source import PROOF_TEXT
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.errors import SelfProofFailed
from server.model.self_proof import prove
from server.tokenizer.tokenizer import Tokenizer
from tests.devices import NAME
from tests.fakes.deep_model import build_deep
from tests.fakes.planted_faults import FAULTS, only_in_half_precision

DTYPES = ["float32", "bfloat16", "float16"]
HALF = DTYPES[1:]
ATTENTION = choose_backend(torch.device(NAME))

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", params=DTYPES)
def proof(request, folder):
    """Proves the model in one dtype with a seed, by an attention backend."""
    loaded = load_base_model(BaseModelOptions(str(folder), dtype=request.param, device=NAME))
    text = Tokenizer.load(folder).encode(PROOF_TEXT)

    def run(seed, attention=ATTENTION):
        return prove(loaded, attention, seed, text)

    run.dtype = request.param
    return run


def check(proof, seed):
    held = proof(seed)
    assert held.disagreement < 1e-4
    if proof.dtype in HALF:
        assert held.rounding.served < 1.6 * held.rounding.stock < 0.1
    print(proof.dtype, seed, held)


def count_found(proof, fault, seeds):
    found = 0
    for seed in seeds:
        with fault(ATTENTION) as faulty:
            try:
                proof(seed, faulty)
            except SelfProofFailed:
                found += 1
    return found


def test_the_proof_holds(proof):
    """The short form: one seed."""
    check(proof, 4)


@pytest.mark.parametrize("fault", ["shifted_position", "missing_prefix_row"])
def test_two_faults_are_found(proof, fault):
    """The short form: the two that change least, with one seed."""
    assert count_found(proof, FAULTS[fault], [0]) == 1


@pytest.mark.long
def test_the_proof_holds_for_twenty_seeds(proof):
    for seed in range(20):
        check(proof, seed)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_by_twenty_seeds(proof, fault):
    assert count_found(proof, FAULTS[fault], range(20)) == 20


@pytest.mark.long
@pytest.mark.parametrize("fault", ["wrong_scale", "swapped_heads", "narrow_window"])
def test_every_fault_of_half_precision_alone_is_found(proof, fault):
    """Float32 does not see it, and the stock model's rounding is a measure tight enough."""
    if proof.dtype in HALF:
        assert count_found(proof, lambda backend: only_in_half_precision(FAULTS[fault], backend), range(20)) == 20


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_layers", [30, 60])
def test_deep_random_models_are_proved(tmp_path, num_layers, dtype):
    """Outliers and depth without a real model's order: three models, twenty seeds each."""
    for model_seed in range(3):
        folder = tmp_path / str(model_seed)
        build_deep(num_layers, seed=model_seed).save_pretrained(folder)
        loaded = load_base_model(BaseModelOptions(str(folder), dtype=dtype, device=NAME))
        for seed in range(20):
            prove(loaded, ATTENTION, seed, range(7, 40))
