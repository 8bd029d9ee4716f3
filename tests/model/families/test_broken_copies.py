"""Attention modules of our own are proved at start in every dtype, and a broken copy of each is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model, load_skeleton
from server.model.errors import SelfProofFailed
from server.model.families import codegen, falcon, gpt_neox_japanese, gptj
from server.model.families.own_attention import OwnAttention
from server.model.families.registry import FAMILIES
from server.model.families.rotary import rotate_halves, rotate_pairs
from server.model.self_proof import prove
from tests.devices import DEVICE, NAME
from tests.parity.architectures import CONFIGS, build, build_from

OWN = [name for name, config in CONFIGS.items() if config().model_type in FAMILIES]
WITH_BIAS = ["bloom", "falcon-alibi", "mpt"]
ROTATED = {"gptj": gptj, "gptj-whole-head": gptj, "codegen": codegen}
HALVED = {"falcon": falcon, "falcon-groups": falcon, "gpt-neox-japanese": gpt_neox_japanese}
WITH_POSITIONS = ["gpt-neo", "xglm"]
TEXT = tuple(range(3, 40))


def load(folder, name: str, dtype: str = "float32") -> LoadedModel:
    build(name).save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype=dtype))


def own_attention(loaded: LoadedModel) -> list[OwnAttention]:
    """The replaced forward passes, one per layer."""
    return [own for module in loaded.model.modules() if isinstance(own := vars(module).get("forward"), OwnAttention)]


def refuse(loaded: LoadedModel) -> None:
    with pytest.raises(SelfProofFailed, match="the paged path and the stock model disagree"):
        prove(loaded, choose_backend(DEVICE), text=TEXT)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", OWN)
def test_each_family_is_proved_in_every_dtype(name, dtype, tmp_path):
    """The module replaces that of every layer, and what serves rounds no worse than the stock model."""
    loaded = load(tmp_path, name, dtype)
    assert len(own_attention(loaded)) == loaded.architecture.num_layers
    proof = prove(loaded, choose_backend(DEVICE), text=TEXT)
    assert proof.disagreement < 1e-4
    assert proof.rounding is None or proof.rounding.served < 1.5 * proof.rounding.stock


def test_every_family_is_tried():
    """A family without a tiny model would never be compared with PEFT."""
    assert {CONFIGS[name]().model_type for name in OWN} == set(FAMILIES)


def swap_heads(call: dict[str, Any]) -> dict[str, Any]:
    order = list(range(call["query"].shape[1]))
    order[0], order[-1] = order[-1], order[0]
    return call | {"query": call["query"][:, order]}


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "swapped heads": swap_heads,
    "key for value": lambda call: call | {"key": call["value"], "value": call["key"]},
    "scale": lambda call: call | {"scaling": call["scaling"] * 1.1},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", OWN)
def test_a_copy_that_attends_wrongly_is_refused(name, change, tmp_path):
    """Two heads change places, keys are values, or scores are a tenth too large."""
    loaded = load(tmp_path, name)
    for own in own_attention(loaded):
        attend = own.attend

        def broken(query, key, value, attend=attend, **rest):
            return attend(**CHANGES[change]({"query": query, "key": key, "value": value} | rest))

        own.attend = broken
    refuse(loaded)


def wrong_slopes(table: torch.Tensor) -> torch.Tensor:
    return table * 1.1


def slopes_of_other_heads(table: torch.Tensor) -> torch.Tensor:
    return table.roll(1, dims=0)


def shifted_positions(table: torch.Tensor) -> torch.Tensor:
    """From the ninth entry at either end a position is counted twice."""
    shifted = table.clone()
    shifted[:, 9:] = table[:, 8:-1]
    shifted[:, -9:] = table[:, -9:]
    return shifted


@pytest.mark.parametrize("fault", [wrong_slopes, slopes_of_other_heads, shifted_positions])
@pytest.mark.parametrize("name", WITH_BIAS)
def test_a_wrong_bias_is_refused(name, fault, tmp_path):
    """ALiBi is part of the proof: its slopes, its heads and its positions."""
    loaded = load(tmp_path, name)
    for own in own_attention(loaded):
        assert own.bias is not None
        own.bias = replace(own.bias, table=fault(own.bias.table))
    refuse(loaded)


@pytest.mark.parametrize("name", WITH_BIAS)
def test_a_missing_bias_is_refused(name, tmp_path):
    """A copy without ALiBi."""
    loaded = load(tmp_path, name)
    for own in own_attention(loaded):
        own.bias = None
    refuse(loaded)


@pytest.mark.parametrize("name", ROTATED)
def test_a_shifted_rotation_is_refused(name, tmp_path, monkeypatch):
    """Each token gets the angles of the row before it."""
    loaded = load(tmp_path, name)
    monkeypatch.setattr(
        ROTATED[name], "rotate_pairs", lambda heads, angles, count: rotate_pairs(heads, angles.roll(1, 0), count)
    )
    refuse(loaded)


@pytest.mark.parametrize("name", HALVED)
def test_a_shifted_rotation_of_halves_is_refused(name, tmp_path, monkeypatch):
    """Each token gets the angles of the row before it."""
    loaded = load(tmp_path, name)
    monkeypatch.setattr(
        HALVED[name],
        "rotate_halves",
        lambda heads, embeddings: rotate_halves(heads, tuple(rows.roll(1, 1) for rows in embeddings)),
    )
    refuse(loaded)


@pytest.mark.parametrize("name", [*WITH_POSITIONS, *ROTATED, *HALVED])
def test_a_shifted_position_is_refused(name, tmp_path):
    """The model gets other positions than the step's: each row but the first that of the row before it."""
    loaded = load(tmp_path, name)

    def shift(_, inputs, named):
        return inputs, named | {"position_ids": (named["position_ids"] - 1).clamp(min=0)}

    loaded.model.register_forward_pre_hook(shift, with_kwargs=True)
    refuse(loaded)


@pytest.mark.parametrize("name", WITH_BIAS)
def test_keys_of_another_row_are_refused(name, tmp_path):
    """ALiBi reads positions where attention does: each key stands in the place of the row behind it."""
    loaded = load(tmp_path, name)
    for own in own_attention(loaded):
        attend = own.attend
        own.attend = lambda query, key, value, attend=attend, **rest: attend(query, key.roll(1, 0), value, **rest)
    refuse(loaded)


def test_bloom_without_its_residual_is_refused(tmp_path):
    """Its attention module adds the layer's input."""
    loaded = load(tmp_path, "bloom")
    for module in loaded.model.modules():
        if isinstance(own := vars(module).get("forward"), OwnAttention):
            module.forward = lambda hidden, residual, own=own, **rest: own(hidden, torch.zeros_like(residual), **rest)
    refuse(loaded)


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_last_bias_of_gpt_neox_japanese_is_part_of_the_proof(is_broken, tmp_path):
    """The module hands it to the model, which adds it."""
    model = build("gpt-neox-japanese")
    with torch.no_grad():
        model.gpt_neox_japanese.layers[-1].attention.dense_bias.normal_()
    model.save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device=NAME, dtype="float32"))
    if not is_broken:
        assert prove(loaded, choose_backend(DEVICE), text=TEXT).disagreement < 1e-4
        return
    for module in loaded.model.modules():
        if isinstance(own := vars(module).get("forward"), OwnAttention):
            module.forward = lambda *inputs, own=own, **named: (*own(*inputs, **named)[:2], None)
    refuse(loaded)


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_clipping_of_mpt_is_part_of_the_proof(is_broken, tmp_path):
    """Some configurations clip queries, keys and values."""
    config = CONFIGS["mpt"]()
    config.attn_config.clip_qkv = 0.5
    build_from(config, AutoModelForCausalLM).save_pretrained(str(tmp_path))
    loaded = load_base_model(BaseModelOptions(str(tmp_path), device=NAME, dtype="float32"))
    if not is_broken:
        assert prove(loaded, choose_backend(DEVICE), text=TEXT).disagreement < 1e-4
        return
    for own in own_attention(loaded):
        own.module.clip_qkv = None
    refuse(loaded)


@pytest.mark.parametrize("window", [None, 7, 9])
def test_a_wrong_local_window_of_gpt_neo_is_refused(window, tmp_path):
    """The window is eight."""
    loaded = load(tmp_path, "gpt-neo")
    for own in own_attention(loaded):
        attend = own.attend

        def broken(*heads, sliding_window, attend=attend, **rest):
            return attend(*heads, sliding_window=sliding_window and window, **rest)

        own.attend = broken
    refuse(loaded)


@pytest.mark.parametrize(("name", "configured"), [("bloom", 96), ("mpt", 96), ("falcon", 96)])
def test_the_longest_context_is_found_under_each_familys_name(name, configured, tmp_path):
    """Tables of biases are as long as the context that is served."""
    CONFIGS[name]().save_pretrained(str(tmp_path))
    for wanted, expected in ((None, configured), (40, 40), (1000, configured)):
        options = BaseModelOptions(str(tmp_path), device="cpu", max_context=wanted)
        assert load_skeleton(options).max_context == expected


def test_bloom_without_a_length_gets_that_of_its_training(tmp_path):
    """The configurations on the hub name none."""
    config = CONFIGS["bloom"]()
    del config.seq_length
    config.save_pretrained(str(tmp_path))
    assert load_skeleton(BaseModelOptions(str(tmp_path), device="cpu")).max_context == 2048
