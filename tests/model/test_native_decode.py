"""A decode step in one native call: the forward pass's own numbers, bit for bit, or the forward pass itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from server.model.architecture import read_architecture
from server.model.attention import ATTENTION_NAME, register_attention
from server.model.base_model import LoadedModel
from server.model.cpu import few_rows
from server.model.cpu.attention import CpuPagedAttention, is_built
from server.model.cpu.few_rows import MAX_ROWS
from server.model.cpu.fused_layer import fuse_layers
from server.model.cpu.int8_weight import KIND, quantise_weight
from server.model.cpu.pack_model import pack_linears
from server.model.cpu.packing import PackedLinear
from server.model.cpu.quantise_model import QuantisedEmbedding, QuantisedWeight
from server.model.cpu.widened_weight import to_bfloat16, to_int8
from server.model.flat_batch import Chunk
from server.model.hidden_rows import HiddenRows
from server.model.kv_cache import KVCache
from server.model.native_decode import DecodeStep, native_decodes
from server.model.paged_attention import PagedAttention
from server.model.runner import ModelRunner
from server.model.self_proof import prove
from server.model.serving_runner import build_runner
from tests.devices import IS_CPU

pytestmark = pytest.mark.skipif(not (IS_CPU and is_built() and MAX_ROWS), reason="no C module, or nothing in it for us")

BLOCK_SIZE, NUM_BLOCKS, VOCAB_SIZE = 4, 41, 261
_SIZES: dict[str, Any] = {
    "hidden_size": 288,
    "intermediate_size": 300,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": VOCAB_SIZE,
    "pad_token_id": None,
}
MODELS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "llama with biases": lambda: LlamaConfig(**_SIZES, attention_bias=True, mlp_bias=True),
    "a head tied to the embedding": lambda: LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=3),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen3": lambda: Qwen3Config(**_SIZES),
}
QUANTISE: dict[str, Callable[[torch.Tensor, int], QuantisedWeight]] = {
    "bfloat16": to_bfloat16,
    "int8-weight-only": to_int8,
    "int8": quantise_weight,
}
FLOAT32 = "float32", few_rows.LANES
BEST = [FLOAT32, ("bfloat16", few_rows.LANES), ("int8-weight-only", few_rows.LANES), ("int8", KIND)]
"""Each form of weights with the best of its kernels that this CPU has: lanes, or the kind of int8."""
OTHERS = [(form, kind) for form, best in BEST for kind in ((1, 2) if form == "int8" else (8,)) if kind < best]


def load(config: PreTrainedConfig, form: str = "float32", kind: int = few_rows.LANES) -> LoadedModel:
    """A packed and fused model with every parameter random."""
    register_attention()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=ATTENTION_NAME)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(mean=float(parameter.dim() == 1), std=0.05)
    model.requires_grad_(False).train(False)

    def pack(weight: torch.Tensor, bias: torch.Tensor | None, _: bool) -> PackedLinear:
        return PackedLinear(QUANTISE[form](weight, kind), bias)

    quantised_to = form if form in QUANTISE else None
    if quantised_to is not None:
        embedding = model.get_input_embeddings()
        model.set_input_embeddings(QuantisedEmbedding(QUANTISE[form](embedding.weight, kind)))
    pack_linears(model, pack=None if quantised_to is None else pack)
    fuse_layers(model)
    device = torch.device("cpu")
    return LoadedModel(model, read_architecture(model), torch.float32, device, frozenset(), None, quantised_to)


def make_cache(loaded: LoadedModel) -> KVCache:
    return KVCache(loaded.architecture.layers, NUM_BLOCKS, BLOCK_SIZE, torch.float32, torch.device("cpu"))


def step(num_rows: int, number: int) -> list[Chunk]:
    """The token of each sequence at step `number`; they begin at other positions, and own 6 blocks each."""
    return [
        Chunk(((31 * number + 7 * row) % VOCAB_SIZE,), number + row % 3, tuple(range(1 + 6 * row, 7 + 6 * row)), 0)
        for row in range(num_rows)
    ]


def assert_same_steps(loaded: LoadedModel, numbers_of_rows: tuple[int, ...]) -> None:
    caches = [make_cache(loaded), make_cache(loaded)]
    native = native_decodes(loaded, caches[0], CpuPagedAttention)
    assert native is not None
    forward = ModelRunner(loaded, caches[1], CpuPagedAttention)
    for number, num_rows in enumerate(numbers_of_rows):
        with torch.inference_mode():
            logits = native.run(step(num_rows, number))
        assert torch.equal(logits, forward.forward(step(num_rows, number))), number
    pages = zip(caches[0].keys + caches[0].values, caches[1].keys + caches[1].values, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pages)


@pytest.mark.parametrize(
    ("name", "form", "kind"),
    [(name, *best) for name in MODELS for best in BEST] + [("qwen3", *other) for other in OTHERS],
)
def test_its_logits_are_the_forward_passes_bit_for_bit(name, form, kind, monkeypatch):
    """So are the keys and values, over borders of blocks and windows, for one row, some and more than a tile's."""
    if form == "float32":
        monkeypatch.setattr(few_rows, "LANES", kind)
    assert_same_steps(load(MODELS[name](), form, kind), (1, 1, 2, 1, 3, 6, 1, 1))


@pytest.mark.parametrize(("form", "kind"), BEST)
def test_threads_share_a_step(form, kind):
    """With the same numbers: each sum is one thread's."""
    torch.set_num_threads(2)
    try:
        assert_same_steps(load(MODELS["qwen3"](), form, kind), (1, 4))
    finally:
        torch.set_num_threads(1)


def test_a_row_alone_is_the_row_in_a_mixed_step():
    """A step of decodes is the native call, one with a prompt in it the forward pass: no answer may tell which."""
    loaded = load(MODELS["llama"](), "int8", KIND)
    logits = []
    for neighbours in ([], [Chunk((1, 2, 3), 0, (20,), 2)]):
        runner = build_runner(loaded, CpuPagedAttention, NUM_BLOCKS, BLOCK_SIZE, 8)
        steps = [runner.forward([*step(1, number), *neighbours])[0] for number in range(6)]
        logits.append(torch.stack(steps))
    assert torch.equal(*logits)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [Chunk((1, 2), 0, (1,), 0)],
        [Chunk((1,), 0, (1,), 0), Chunk((1, 2), 0, (2,), 0)],
        [Chunk((1,), 0, (1,), None)],
        [Chunk(torch.zeros(1, 288), 0, (1,), 0)],
        [Chunk((1,), 0, (1,), 0)] * (MAX_ROWS + 1),
    ],
    ids=["nothing", "a prompt", "a mixed step", "no logits", "a soft prompt", "more rows than its kernel is for"],
)
def test_other_steps_are_not_computed(chunks):
    """The forward pass computes them."""
    loaded = load(MODELS["llama"]())
    native = native_decodes(loaded, make_cache(loaded), CpuPagedAttention)
    assert native is not None
    assert native.run(chunks) is None


@pytest.mark.parametrize(("form", "kind"), BEST[1:])
def test_weights_of_fewer_bits_take_any_number_of_rows(form, kind):
    """Their kernels have no other way for many, and a row among many is the row alone."""
    loaded = load(MODELS["llama"](), form, kind)
    chunks = step(1, 0) * (2 * MAX_ROWS + 1)
    native = native_decodes(loaded, make_cache(loaded), CpuPagedAttention)
    forward = ModelRunner(loaded, make_cache(loaded), CpuPagedAttention)
    assert native is not None
    with torch.inference_mode():
        logits = native.run(chunks)
    assert torch.equal(logits, forward.forward(chunks))
    assert torch.equal(logits, forward.forward(chunks[:1]).expand_as(logits))


def test_an_id_beyond_the_vocabulary_is_refused():
    """As PyTorch's look-up refuses it."""
    loaded = load(MODELS["llama"]())
    native = native_decodes(loaded, make_cache(loaded), CpuPagedAttention)
    assert native is not None
    for token in (-1, VOCAB_SIZE):
        with pytest.raises(IndexError, match=f"token id {token} is none of the vocabulary"):
            native.run([Chunk((token,), 0, (1,), 0)])


def test_hidden_states_come_from_the_forward_pass():
    """A chunk that wants them gets them, and the same logits."""
    loaded = load(MODELS["llama"]())
    runner = build_runner(loaded, CpuPagedAttention, NUM_BLOCKS, BLOCK_SIZE, 8)
    hidden = HiddenRows(0)
    plain, wanting = Chunk((5,), 0, (1,), 0), Chunk((5,), 0, (1,), 0, hidden=hidden)
    assert torch.equal(runner.forward([plain]), runner.forward([wanting]))
    assert hidden.joined().shape == (1, 288)


def _unfused(loaded: LoadedModel) -> None:
    del loaded.model.model.layers[1].forward


def _another_weight(loaded: LoadedModel) -> None:
    head = loaded.model.lm_head
    loaded.model.lm_head = PackedLinear(quantise_weight(head.weight), None)


def _another_head(loaded: LoadedModel) -> None:
    head = loaded.model.lm_head
    loaded.model.lm_head = torch.nn.Linear(288, VOCAB_SIZE, bias=False).requires_grad_(False)
    loaded.model.lm_head.weight.data = head.weight


def _scaled_embeddings(loaded: LoadedModel) -> None:
    loaded.model.model.embed_tokens.register_forward_hook(lambda *arguments: arguments[-1])
    loaded.model.model.register_forward_pre_hook(_double, with_kwargs=True)


def _double(backbone: Any, arguments: Any, named: Any) -> Any:
    return (), {**named, "input_ids": None, "inputs_embeds": 2 * backbone.embed_tokens(named["input_ids"])}


def _another_rotary(loaded: LoadedModel) -> None:
    backbone = loaded.model.model
    rotary = backbone.rotary_emb.forward
    backbone.rotary_emb.forward = lambda hidden, positions, *, layer_type: rotary(hidden, positions)


def _narrow_rotary(loaded: LoadedModel) -> None:
    rotary = loaded.model.model.rotary_emb.forward
    loaded.model.model.rotary_emb.forward = lambda *given: [half[..., :32].contiguous() for half in rotary(*given)]


_CHANGES = [_unfused, _another_weight, _another_head, _scaled_embeddings, _another_rotary, _narrow_rotary]


@pytest.mark.parametrize("change", _CHANGES)
def test_a_model_with_other_parts_keeps_its_forward_pass(change):
    """Also one whose parts are the same, and whose forward pass does more with them."""
    loaded = load(MODELS["llama"]())
    assert native_decodes(loaded, make_cache(loaded), CpuPagedAttention) is not None
    change(loaded)
    assert native_decodes(loaded, make_cache(loaded), CpuPagedAttention) is None


def test_scaled_logits_are_seen():
    """Granite divides its logits, which no part shows."""
    for scaling, is_native in ((1.0, True), (2.0, False)):
        loaded = load(GraniteConfig(**_SIZES, logits_scaling=scaling))
        assert (native_decodes(loaded, make_cache(loaded), CpuPagedAttention) is not None) is is_native


def test_exact_attention_keeps_the_forward_pass():
    """`--attention exact` asks for plain operations."""
    loaded = load(MODELS["llama"]())
    assert native_decodes(loaded, make_cache(loaded), PagedAttention) is None


def test_the_proof_at_start_goes_through_it(monkeypatch):
    """What will serve is what is compared with the stock model."""
    loaded = load(MODELS["llama"]())
    found = []
    run = DecodeStep.run
    monkeypatch.setattr(DecodeStep, "run", lambda self, chunks: found.append(run(self, chunks)) or found[-1])
    proof = prove(loaded, CpuPagedAttention)
    assert proof.disagreement < 1e-4
    assert sum(logits is not None for logits in found) > 4  # more than the steps of its own check
