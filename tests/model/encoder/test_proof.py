"""The start-up proof of encoders: it passes for what is served exactly, and refuses everything else by name."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from server.model.base_model import BaseModelOptions
from server.model.encoder import runner as runner_module
from server.model.encoder.attention import RaggedAttention
from server.model.encoder.batch import Group
from server.model.encoder.loading import load_encoder, load_encoder_skeleton
from server.model.encoder.padded_attention import PaddedAttention
from server.model.encoder.positions import Positions
from server.model.encoder.proof import prove_encoder
from server.model.errors import SelfProofFailed, UnsupportedArchitecture
from tests.parity.encoders import ENCODERS, REFUSED, build_encoder


def load(config, folder, **options):
    """Save a tiny encoder and load it as the server does."""
    build_encoder(config).save_pretrained(folder)
    return load_encoder(BaseModelOptions(str(folder), device="cpu", **options))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_served_family_agrees_with_transformers(name, tmp_path):
    """To rounding: alone, behind embeddings, behind keys and values, in groups and with padding tokens in the text."""
    loaded = load(ENCODERS[name](), tmp_path)
    assert prove_encoder(loaded).disagreement < 1e-5
    assert load_encoder_skeleton(BaseModelOptions(str(tmp_path), device="cpu")) == loaded.architecture


@pytest.mark.parametrize("name", ["bert", "bert-wide", "deberta-v2", "mpnet", "modernbert"])
def test_padded_attention_agrees_with_transformers(name, tmp_path, monkeypatch):
    """What a GPU computes with: keys and values of several lengths, windows, and terms of the scores."""
    loaded = load(ENCODERS[name](), tmp_path)
    monkeypatch.setattr(runner_module, "choose_context", PaddedAttention)
    assert prove_encoder(loaded).disagreement < 1e-5


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2"])
def test_half_precision_is_measured_by_the_stock_models_own_rounding(name, tmp_path):
    """The logic is proved in float32, on wide copies of the weights."""
    proof = prove_encoder(load(ENCODERS[name](), tmp_path, dtype="bfloat16"))
    assert proof.disagreement < 1e-5
    assert proof.rounding is not None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_computed_exactly_is_refused_by_name(name, tmp_path):
    """Attention of its own, or a layer that reaches over the borders of a sequence."""
    with pytest.raises((SelfProofFailed, UnsupportedArchitecture), match=f"{name} models cannot be served: "):
        prove_encoder(load(REFUSED[name](), tmp_path))


class _OneSequence(RaggedAttention):
    """Every row sees every row of the batch."""

    def __init__(self, groups):
        super().__init__([Group(0, 1, groups[-1].last)])


class _NeighbourSeen(RaggedAttention):
    """Two sequences of equal length are taken for one."""

    def __init__(self, groups):
        groups = list(groups)
        index = next(i for i, group in enumerate(groups) if group.num_sequences == 2 and not group.key_values)
        groups[index] = Group(groups[index].first, 1, 2 * groups[index].num_rows)
        super().__init__(groups)


class _OtherPrefix(RaggedAttention):
    """Two sequences of a group have each other's keys and values."""

    def __init__(self, groups):
        super().__init__([dataclasses.replace(group, key_values=group.key_values[::-1]) for group in groups])


class _NoPrefix(RaggedAttention):
    """Keys and values are left out."""

    def __init__(self, groups):
        super().__init__([dataclasses.replace(group, key_values=()) for group in groups])


@pytest.mark.parametrize("broken", [_OneSequence, _NeighbourSeen, _OtherPrefix, _NoPrefix])
def test_broken_attention_is_refused(broken, tmp_path, monkeypatch):
    """Rows of a neighbour that are seen, and keys and values that are not."""
    loaded = load(ENCODERS["bert"](), tmp_path)
    monkeypatch.setattr(runner_module, "choose_context", lambda groups, device: broken(groups))
    with pytest.raises(SelfProofFailed, match="bert models cannot be served: the ragged batch and the stock model"):
        prove_encoder(loaded)


@pytest.mark.parametrize("fault", ["shifted", "padding counted", "no offset behind keys and values"])
def test_broken_positions_are_refused(fault, tmp_path, monkeypatch):
    """Each rule of RoBERTa's positions, broken alone."""
    loaded = load(ENCODERS["roberta"](), tmp_path)
    own = Positions.of

    def broken(self, sequence):
        match fault:
            case "shifted":
                return [position + 1 for position in own(self, sequence)]
            case "padding counted":
                start = self.first + sequence.num_key_values
                return range(start, start + sequence.num_rows)
            case _:
                return (
                    own(self, dataclasses.replace(sequence, prefix=None))
                    if sequence.num_key_values
                    else own(self, sequence)
                )

    monkeypatch.setattr(Positions, "of", broken)
    with pytest.raises(SelfProofFailed):
        prove_encoder(loaded)


def test_weights_that_make_no_numbers_are_refused(tmp_path):
    """NaN in the files is no fault of ours, and says so."""
    model = build_encoder(ENCODERS["bert"]())
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(SelfProofFailed, match="NaN or infinity"):
        prove_encoder(load_encoder(BaseModelOptions(str(tmp_path), device="cpu")))
