"""The proof at start on a real model, in every dtype: it holds for every seed, and finds every planted fault."""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
import torch

from server.base_model_source import PROOF_TEXT
from server.model import self_proof
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.errors import SelfProofFailed
from server.model.proof_sequences import stock_logits
from server.model.self_proof import prove
from server.tokenizer.tokenizer import Tokenizer
from tests.devices import NAME
from tests.fakes.deep_model import build_deep
from tests.fakes.planted_faults import FAULTS, only_in_half_precision

DTYPES = ["float32", "bfloat16", "float16"]
ATTENTION = choose_backend(torch.device(NAME))
# Three rows of seed 11 amplify rounding: 1.4e-4 here, and 1.8e-4 between the stock model's own two attentions.
MAX_DISAGREEMENT = 4e-4

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", params=DTYPES)
def model(request, folder):
    """The model in one dtype, and the ids of the text that a server proves it with."""
    loaded = load_base_model(BaseModelOptions(str(folder), dtype=request.param, device=NAME))
    return loaded, Tokenizer.load(folder).encode(PROOF_TEXT)


class Seed:
    """Proofs of one seed. The stock model's logits are computed once, since no fault touches them."""

    def __init__(self, model, seed):
        self._model, self._seed = model, seed
        self._stock = {}

    def _stock_logits(self, stock, sequences):
        if stock.dtype not in self._stock:
            self._stock[stock.dtype] = stock_logits(stock, sequences)
        return self._stock[stock.dtype]

    def prove(self, attention=ATTENTION):
        loaded, text = self._model
        with mock.patch.object(self_proof, "stock_logits", self._stock_logits):
            return prove(loaded, attention, self._seed, text)

    def check_that_it_holds(self):
        proof = self.prove()
        print(self._seed, proof)
        assert proof.disagreement < MAX_DISAGREEMENT
        if proof.rounding is not None:
            assert proof.rounding.served < 1.6 * proof.rounding.stock < 0.1

    def is_found(self, fault):
        with fault(ATTENTION) as faulty:
            try:
                self.prove(faulty)
            except SelfProofFailed:
                return True
        return False


def test_the_proof_holds_and_finds_two_faults(model):
    """The short form: one seed, and the two faults that change least."""
    seed = Seed(model, 4)
    seed.check_that_it_holds()
    assert seed.is_found(FAULTS["shifted_position"])
    assert seed.is_found(FAULTS["missing_prefix_row"])


@pytest.mark.long
@pytest.mark.parametrize("number", range(20))
def test_the_proof_holds_and_finds_every_fault(model, number):
    seed = Seed(model, number)
    seed.check_that_it_holds()
    assert [name for name, fault in FAULTS.items() if not seed.is_found(fault)] == []


@pytest.mark.long
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("fault", ["wrong_scale", "swapped_heads", "narrow_window"])
def test_every_fault_of_half_precision_alone_is_found(model, fault, number):
    """Float32 does not see it, and the stock model's rounding is a measure tight enough."""
    if model[0].dtype != torch.float32:
        assert Seed(model, number).is_found(partial(only_in_half_precision, FAULTS[fault]))


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
