"""A broken copy of each part of an encoder that is ours is refused by the start-up proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from server.model.base_model import BaseModelOptions, LoadedModel
from server.model.cpu.fused_parts import Activated, Added
from server.model.encoder import runner as runner_module
from server.model.encoder.attention import RaggedAttention
from server.model.encoder.deberta_v2 import DebertaV2Attention
from server.model.encoder.loading import load_encoder
from server.model.encoder.mpnet import MPNetAttention
from server.model.encoder.padded_attention import PaddedAttention
from server.model.encoder.positions import Positions
from server.model.encoder.proof import prove_encoder
from server.model.errors import SelfProofFailed
from tests.parity.encoders import ENCODERS, build_encoder


def load(name: str, folder: Any) -> LoadedModel:
    build_encoder(ENCODERS[name]()).save_pretrained(folder)
    return load_encoder(BaseModelOptions(str(folder), device="cpu"))


def refuse(loaded: LoadedModel) -> None:
    with pytest.raises(SelfProofFailed, match="the ragged batch and the stock model disagree"):
        prove_encoder(loaded)


def change_forward(loaded: LoadedModel, kind: type, change: Callable[..., Any]) -> int:
    """Replace each replaced forward pass of a kind; returns how many there are."""
    modules = [module for module in loaded.model.modules() if isinstance(vars(module).get("forward"), kind)]
    for module in modules:
        own = module.forward
        module.forward = lambda *inputs, own=own, **named: change(own, *inputs, **named)
    return len(modules)


TERMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "wrong numbers": lambda term: term * 1.2,
    "other heads": lambda term: term.roll(1, dims=1),
    "shifted distances": lambda term: term.roll(1, dims=-1),
    "rows for columns": lambda term: term.transpose(-1, -2),
    "nothing": torch.zeros_like,
}


@pytest.mark.parametrize("fault", TERMS)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deberta-v2", DebertaV2Attention),
        ("deberta-v2-unshared", DebertaV2Attention),
        ("mpnet", MPNetAttention),
    ],
)
def test_a_wrong_relative_bias_is_refused(name, kind, fault, tmp_path):
    """Of one layer alone. Biases of MPNet are asymmetric too."""
    loaded = load(name, tmp_path)
    own = [vars(module)["forward"] for module in loaded.model.modules() if "forward" in vars(module)]
    assert all(isinstance(one, kind) for one in own) and len(own) == 2
    term = own[-1]._term
    own[-1]._term = lambda query, key: TERMS[fault](term(query, key))
    refuse(loaded)


@pytest.mark.parametrize("kept", ["_has_key_term", "_has_query_term"])
def test_one_term_of_deberta_alone_is_refused(kept, tmp_path):
    """Content to position without position to content, and the other way round."""
    loaded = load("deberta-v2", tmp_path)
    for module in loaded.model.modules():
        if isinstance(own := vars(module).get("forward"), DebertaV2Attention):
            own._has_key_term, own._has_query_term = kept == "_has_key_term", kept == "_has_query_term"
    refuse(loaded)


@pytest.mark.parametrize("name", ["deberta-v2", "mpnet"])
def test_a_table_of_another_length_is_refused(name, tmp_path):
    """The first table is taken for all lengths, cut to each."""
    loaded = load(name, tmp_path)
    for module in loaded.model.modules():
        own = vars(module).get("forward")
        tables = getattr(own, "_positions", None) or getattr(own, "_biases", None)
        if tables is not None:
            make = type(tables).of

            class OfTheLongest:
                def of(self, rows, tables=tables, make=make):
                    whole = make(tables, rows.new_zeros(*rows.shape[:-2], 30, rows.shape[-1]))
                    return whole[..., -rows.shape[-2] :, : rows.shape[-2]]

            setattr(own, "_positions" if hasattr(own, "_positions") else "_biases", OfTheLongest())
    refuse(loaded)


CALLS: dict[str, Callable[[Any], Any]] = {
    "key for value": lambda call: replace(call, key=call.value, value=call.key),
    "swapped heads": lambda call: replace(call, query=call.query.flip(0)),
    "scale": lambda call: replace(call, scaling=call.scaling * 1.1),
}


@pytest.mark.parametrize("fault", CALLS)
@pytest.mark.parametrize("name", ["bert", "deberta-v2", "mpnet", "modernbert"])
def test_attention_of_other_inputs_is_refused(name, fault, tmp_path, monkeypatch):
    """Whichever way the call is wrong."""

    class Broken(RaggedAttention):
        def attend(self, call):
            return super().attend(CALLS[fault](call))

    monkeypatch.setattr(runner_module, "choose_context", lambda groups, device: Broken(groups))
    refuse(load(name, tmp_path))


@pytest.mark.parametrize("window", [None, 7, 9])
def test_a_wrong_window_is_refused(window, tmp_path, monkeypatch):
    """A row of ModernBERT's local layer sees four rows on either side."""

    class Broken(RaggedAttention):
        def attend(self, call):
            return super().attend(replace(call, sliding_window=call.sliding_window and window))

    monkeypatch.setattr(runner_module, "choose_context", lambda groups, device: Broken(groups))
    refuse(load("modernbert", tmp_path))


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra", "albert", "xlm-roberta", "modernbert", "gte"])
def test_a_shifted_position_is_refused(name, tmp_path, monkeypatch):
    """Each row but the first of a sequence gets the position of the row before it."""
    own = Positions.of

    def shifted(self, sequence):
        positions = list(own(self, sequence))
        return positions[:1] + positions[:-1]

    loaded = load(name, tmp_path)
    monkeypatch.setattr(Positions, "of", shifted)
    refuse(loaded)


class _PaddingSeen(PaddedAttention):
    def __init__(self, groups, device):
        super().__init__(groups, device)
        self._is_key = torch.ones_like(self._is_key)


class _PrefixesMoved(PaddedAttention):
    def __init__(self, groups, device):
        super().__init__(groups, device)
        assert self._key_values is not None
        self._key_values = self._key_values.roll(1, dims=1)


class _LayersMoved(PaddedAttention):
    def attend(self, call):
        self._layer = 0 if self._layer < 0 else -1
        return super().attend(call)


@pytest.mark.parametrize("broken", [_PaddingSeen, _PrefixesMoved, _LayersMoved])
def test_broken_padded_attention_is_refused(broken, tmp_path, monkeypatch):
    """What a GPU computes with: padding that is seen, keys and values of another sequence, and of another layer."""
    loaded = load("bert", tmp_path)
    monkeypatch.setattr(runner_module, "choose_context", broken)
    refuse(loaded)


@pytest.mark.parametrize("name", ["deberta-v2", "mpnet", "modernbert"])
def test_padding_that_is_seen_is_refused(name, tmp_path, monkeypatch):
    """Beside terms of the scores, and beside windows."""
    loaded = load(name, tmp_path)
    monkeypatch.setattr(runner_module, "choose_context", _PaddingSeen)
    refuse(loaded)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("name", ["bert-wide", "deberta-v2-wide"])
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Activated, lambda own, hidden: torch.nn.functional.gelu(own._linear(hidden) * 1.05)),
        (Activated, lambda own, hidden: own._linear.silu(hidden)),
        (Added, lambda own, hidden, input_tensor: own._norm(own._linear(hidden))),
        (Added, lambda own, hidden, input_tensor: own._linear.plus(hidden, input_tensor)),
        (Added, lambda own, hidden, input_tensor: own(hidden, input_tensor.roll(1, 1))),
    ],
    ids=["scaled", "another activation", "no input added", "not normalised", "another row's input added"],
)
def test_a_broken_fused_part_is_refused(name, kind, change, tmp_path):
    """The stock model that it is compared with has none of them."""
    loaded = load(name, tmp_path)
    assert change_forward(loaded, kind, change) == (2 if kind is Activated else 4)
    refuse(loaded)
