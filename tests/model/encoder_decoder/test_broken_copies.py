"""Encoder-decoders are proved at start in every dtype, and a broken copy of each replacement is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from server.model import encoder_decoder_proof, encoder_decoder_runner
from server.model.attention import AttentionCall
from server.model.attention_backend import choose_backend
from server.model.base_model import BaseModelOptions, LoadedModel, load_base_model, load_skeleton
from server.model.encoder_decoder import cross_attention, row_positions, segments
from server.model.encoder_decoder.cross_batch import build_cross_batch
from server.model.encoder_decoder.embeddings import InputEmbeddings
from server.model.encoder_decoder.relative_bias import TableBias
from server.model.encoder_decoder.stack_pass import StackPass, current_pass
from server.model.errors import SelfProofFailed, UnsupportedArchitecture
from server.model.self_proof import prove
from tests.devices import DEVICE, NAME
from tests.parity.encoder_decoders import ENCODER_DECODERS, build_encoder_decoder

TEXT = tuple(range(3, 40))
WITH_BIAS = ["t5", "mt5", "umt5"]
WITH_POSITIONS = ["bart", "mbart", "pegasus", "blenderbot", "blenderbot-small", "marian", "plbart"]


def load(folder, name: str, dtype: str = "float32") -> LoadedModel:
    build_encoder_decoder(name).save_pretrained(str(folder))
    return load_base_model(BaseModelOptions(str(folder), device=NAME, dtype=dtype))


def refuse(loaded: LoadedModel) -> None:
    with pytest.raises(SelfProofFailed, match="the paged path and the stock model disagree"):
        prove(loaded, choose_backend(DEVICE), text=TEXT)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_each_family_is_proved_in_every_dtype(name, dtype, tmp_path):
    """What serves rounds no worse than the stock model."""
    proof = prove(load(tmp_path, name, dtype), choose_backend(DEVICE), text=TEXT)
    assert proof.disagreement < 1e-4
    assert proof.rounding is None or proof.rounding.served < 1.5 * proof.rounding.stock


def biases(loaded: LoadedModel, stack: str) -> list[TableBias]:
    modules = getattr(loaded.model, f"get_{stack}")().modules()
    return [own for module in modules if isinstance(own := vars(module).get("compute_bias"), TableBias)]


FAULTS = {
    "wrong numbers": lambda table: table * 1.2,
    "other heads": lambda table: table.roll(1, dims=0),
    "shifted distances": lambda table: torch.cat([table[:, 1:], table[:, -1:]], dim=1),
    "nothing": torch.zeros_like,
}


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", WITH_BIAS)
def test_a_wrong_relative_bias_is_refused(name, fault, stack, tmp_path):
    """UMT5 has one per layer: the last one alone is broken."""
    loaded = load(tmp_path, name)
    broken = biases(loaded, stack)[-1]
    broken.bias = replace(broken.bias, table=FAULTS[fault](broken.bias.table))
    refuse(loaded)


@pytest.mark.parametrize("is_decoder", [False, True])
@pytest.mark.parametrize("name", WITH_POSITIONS)
def test_a_shifted_position_is_refused(name, is_decoder, tmp_path, monkeypatch):
    """Each row but the first gets the position of the row before it, in one of the stacks."""

    def shifted() -> StackPass:
        own = current_pass()
        is_broken = (own.cross is not None) == is_decoder
        return replace(own, positions=(own.positions - 1).clamp(min=0)) if is_broken else own

    loaded = load(tmp_path, name)
    monkeypatch.setattr(row_positions, "current_pass", shifted)
    refuse(loaded)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_cross_blocks_of_a_neighbour_are_refused(name, tmp_path, monkeypatch):
    """Each row reads the encoder's output of the row before it."""

    def of_a_neighbour(*arguments):
        batch = build_cross_batch(*arguments)
        blocks = batch.decodes.blocks.roll(1, dims=0).contiguous()
        return replace(batch, decodes=replace(batch.decodes, blocks=blocks))

    loaded = load(tmp_path, name)
    monkeypatch.setattr(encoder_decoder_runner, "build_cross_batch", of_a_neighbour)
    refuse(loaded)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_last_position_that_is_not_seen_is_refused(name, tmp_path, monkeypatch):
    """Cross-attention reads all of the encoder's output."""

    def short(*arguments):
        batch = build_cross_batch(*arguments)
        return replace(batch, decodes=replace(batch.decodes, positions=batch.decodes.positions - 1))

    loaded = load(tmp_path, name)
    monkeypatch.setattr(encoder_decoder_runner, "build_cross_batch", short)
    refuse(loaded)


CALLS: dict[str, Callable[[AttentionCall], AttentionCall]] = {
    "key for value": lambda call: replace(call, key=call.value, value=call.key),
    "swapped heads": lambda call: replace(call, query=call.query.flip(0)),
    "scale": lambda call: replace(call, scaling=call.scaling * 1.5),
}


@pytest.mark.parametrize("fault", CALLS)
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_cross_attention_of_other_inputs_is_refused(name, fault, tmp_path, monkeypatch):
    """Of the last layer alone."""
    monkeypatch.setattr(
        cross_attention,
        "AttentionCall",
        lambda **named: CALLS[fault](call) if (call := AttentionCall(**named)).layer == 1 else call,
    )
    refuse(load(tmp_path, name))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_cross_attention_of_another_layer_is_refused(name, tmp_path, monkeypatch):
    """All layers keep their keys and values in the place of the first one. What loads a model sees it too."""
    loaded = load(tmp_path, name)
    monkeypatch.setattr(cross_attention, "AttentionCall", lambda **named: AttentionCall(**named | {"layer": 0}))
    refuse(loaded)
    with pytest.raises(UnsupportedArchitecture, match="one cross-attention of the same shape"):
        load(tmp_path, name)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_blocks_that_cross_and_self_attention_share_are_refused(name, tmp_path, monkeypatch):
    """A request's decoder writes over its encoder's keys and values, or the other way round."""
    own_table = encoder_decoder_proof.Cross

    def shared(block_table, num_positions, new):
        return own_table(tuple(block + len(block_table) for block in block_table), num_positions, new)

    loaded = load(tmp_path, name)
    monkeypatch.setattr(encoder_decoder_proof, "Cross", shared)
    refuse(loaded)


@pytest.mark.parametrize("fault", ["of the row before", "in another order"])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_logits_of_other_rows_are_refused(name, fault, tmp_path, monkeypatch):
    """The LM head gets the rows whose logits are wanted, and no others."""

    def others(*arguments):
        own = StackPass(*arguments)
        if own.logits_rows is None:
            return own
        rows = own.logits_rows
        return replace(own, logits_rows=rows.flip(0) if fault == "in another order" else (rows - 1).clamp(min=0))

    loaded = load(tmp_path, name)
    monkeypatch.setattr(encoder_decoder_runner, "StackPass", others)
    refuse(loaded)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_logits_of_every_row_are_refused(name, tmp_path):
    """An LM head that ignores which rows are wanted."""
    loaded = load(tmp_path, name)
    loaded.model.get_output_embeddings()._forward_pre_hooks.clear()
    with pytest.raises(SelfProofFailed):
        prove(loaded, choose_backend(DEVICE), text=TEXT)


@pytest.mark.parametrize("name", ["t5", "pegasus"])
def test_a_soft_prompt_in_another_place_is_refused(name, tmp_path, monkeypatch):
    """Its rows come before those of the text."""
    own = InputEmbeddings.__call__

    def behind(self, encoder_input):
        rows = own(self, encoder_input)
        return rows if encoder_input.prompt is None else rows.roll(-len(encoder_input.prompt), 0)

    monkeypatch.setattr(InputEmbeddings, "__call__", behind)
    refuse(load(tmp_path, name))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_inputs_that_see_each_other_are_refused(name, tmp_path, monkeypatch):
    """The encoder attends within one input."""

    class OneSegment(segments.SegmentAttention):
        def attend(self, call):
            self._lengths = (sum(self._lengths),)
            return super().attend(call)

    loaded = load(tmp_path, name)
    monkeypatch.setattr(encoder_decoder_runner, "SegmentAttention", OneSegment)
    refuse(loaded)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_wrong_scale_of_embeddings_is_refused(scale, tmp_path, monkeypatch):
    """Pegasus scales text alone, and PEFT's rows are never scaled."""
    loaded = load(tmp_path, "pegasus")
    monkeypatch.setattr(loaded.model.get_encoder(), "embed_scale", scale)
    with pytest.raises(SelfProofFailed):
        prove(loaded, choose_backend(DEVICE), text=TEXT)


def test_other_encoder_decoders_are_refused_by_name(tmp_path):
    """The message lists those that are served."""
    (tmp_path / "config.json").write_text('{"model_type": "led", "is_encoder_decoder": true}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        UnsupportedArchitecture, match="led is an encoder-decoder model that is not served; those that are: t5"
    ):
        load_skeleton(BaseModelOptions(str(tmp_path), device="cpu"))


@pytest.mark.parametrize(("name", "wanted", "expected"), [("t5", None, 2048), ("t5", 5000, 5000), ("bart", 500, 96)])
def test_the_longest_input_and_output(name, wanted, expected, tmp_path):
    """T5 names none, so the option decides; BART has a table of positions, so the option can only lower it."""
    ENCODER_DECODERS[name]().save_pretrained(str(tmp_path))
    sizes = load_skeleton(BaseModelOptions(str(tmp_path), device="cpu", max_context=wanted))
    assert (sizes.max_context, sizes.max_encoder_positions) == (expected, expected)
